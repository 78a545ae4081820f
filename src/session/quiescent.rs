//! Evidence that a server may change hands.

/// Proof that a server connection is at rest (R1): nothing owed, nothing half sent, no transaction open.
///
/// Only the session makes it, after looking at all of these; a lease cannot be released without it. The token is
/// not tied to one connection: keep one lease per session in scope.
#[must_use = "a quiescent server should go back to its pool"]
#[derive(Debug)]
pub struct Quiescent(());

impl Quiescent {
    /// The session's own constructor, to be called only behind its check.
    #[allow(dead_code)] // the session's check calls it
    pub(super) const fn witnessed() -> Self {
        Self(())
    }

    /// Evidence for tests of other rooms, which have no session at hand.
    #[cfg(test)]
    pub(crate) const fn for_test() -> Self {
        Self(())
    }
}
