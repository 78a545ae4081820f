//! SCRAM verifiers that were made of plain secrets, kept so that PBKDF2 runs once per user and not once per login.
//!
//! Owns: the table and its bound. Does not know: secrets: an entry tells by itself whether it still belongs to one.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::auth::{AuthSeed, CachedVerifier, StoredSecret, VerifierJob};
use crate::config::{AuthType, Config};
use crate::net::Turnstile;

/// Verifiers kept per worker, about 300 bytes each: 5 MB. With more users than this some are derived again.
pub const MAX_VERIFIERS: usize = 16_384;

/// One worker's verifiers, by user.
#[derive(Debug, Default)]
pub struct VerifierCache {
    by_user: HashMap<String, CachedVerifier>,
}

impl VerifierCache {
    pub(super) fn find(&self, user: &str) -> Option<CachedVerifier> {
        self.by_user.get(user).cloned()
    }

    pub(super) fn keep(&mut self, user: &str, verifier: CachedVerifier) {
        if self.by_user.len() >= MAX_VERIFIERS && !self.by_user.contains_key(user) {
            // Any one will do: whoever needs it derives it again.
            if let Some(other) = self.by_user.keys().next().cloned() {
                self.by_user.remove(&other);
            }
        }
        self.by_user.insert(user.to_owned(), verifier);
    }

    /// Verifiers kept.
    pub fn len(&self) -> usize {
        self.by_user.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }
}

/// Derives the verifiers of all users with a plain secret, one after the other on helper threads, so that the time
/// of a first login does not tell who exists (S14). For a worker to run beside its work after each change of the
/// configuration; it stands in the same line as logins. Cancel safe: what was derived is kept.
pub async fn warm_verifiers(
    config: &Config,
    seed: &AuthSeed,
    cache: &RefCell<VerifierCache>,
    derivations: &Turnstile,
) {
    if config.auth_type != AuthType::ScramSha256 {
        return;
    }
    for (name, user) in config.users.iter().take(MAX_VERIFIERS) {
        let secret = user.secret.as_ref().and_then(|secret| StoredSecret::parse(&secret.0));
        let Some(job) = secret.and_then(|secret| VerifierJob::new(name, &secret, seed)) else { continue };
        let verifier = derivations.offload(move || job.run()).await;
        cache.borrow_mut().keep(name, verifier);
    }
}
