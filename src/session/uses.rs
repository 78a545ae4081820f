//! Which features of a session a client uses: for the operator, who wants to know what a pool mode would mean.
//!
//! Owns: what counts as one, and what becomes of it by the rules. Decides nothing.

use std::rc::Rc;

use super::catalog::text_of;
use super::conversation::{Rules, Session};
use super::from_client::whole_body;
use super::sql::{self, Digest, Features};
use crate::config::{PoolMode, SessionState};
use crate::proto::{FrameHeader, ParseView};

/// Uses that are noted between two looks at them; what comes beyond them is not counted. More than the parameters
/// that one text can name.
const MAX_USES: usize = 128;

/// A feature of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// A parameter of the startup packet.
    Startup,
    /// A parameter of the startup packet that the login failed for.
    RefusedStartup,
    /// SET, or set_config(), for longer than the transaction.
    Set,
    /// RESET.
    Reset,
    /// DISCARD.
    Discard,
    /// LISTEN.
    Listen,
    /// Something temporary is made.
    Temporary,
    /// An advisory lock of the session.
    AdvisoryLock,
    /// A cursor WITH HOLD.
    HoldCursor,
    /// PREPARE as a statement.
    Prepare,
    /// EXECUTE as a statement.
    Execute,
    /// DEALLOCATE.
    Deallocate,
    /// LOAD.
    Load,
    /// The seed of random().
    Seed,
    /// DO or CALL: nobody sees what it does.
    Opaque,
    /// A text that cannot be read, or is too large to be.
    Unread,
}

/// By what each shows.
const MARKS: [(Feature, Features); 14] = [
    (Feature::Set, Features::SET.with(Features::SET_CONFIG)),
    (Feature::Reset, Features::RESET.with(Features::RESET_ALL)),
    (Feature::Discard, Features::DISCARD_ALL.with(Features::DISCARD_TEMP).with(Features::DISCARD_OTHER)),
    (Feature::Listen, Features::LISTEN),
    (Feature::Temporary, Features::TEMP),
    (Feature::AdvisoryLock, Features::ADVISORY_LOCK),
    (Feature::HoldCursor, Features::DECLARE_HOLD),
    (Feature::Prepare, Features::PREPARE),
    (Feature::Execute, Features::EXECUTE),
    (Feature::Deallocate, Features::DEALLOCATE.with(Features::DEALLOCATE_ALL)),
    (Feature::Load, Features::LOAD),
    (Feature::Seed, Features::SEED),
    (Feature::Opaque, Features::OPAQUE),
    (Feature::Unread, Features::UNJUDGED),
];

/// One use of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Of which.
    pub feature: Feature,
    /// The parameter, if it is about one.
    pub name: Box<[u8]>,
    /// The text, without its literals.
    pub text: Rc<str>,
}

impl Feature {
    /// The console's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::RefusedStartup => "startup_refused",
            Self::Set => "set",
            Self::Reset => "reset",
            Self::Discard => "discard",
            Self::Listen => "listen",
            Self::Temporary => "temp",
            Self::AdvisoryLock => "advisory_lock",
            Self::HoldCursor => "hold_cursor",
            Self::Prepare => "prepare",
            Self::Execute => "execute",
            Self::Deallocate => "deallocate",
            Self::Load => "load",
            Self::Seed => "setseed",
            Self::Opaque => "do_call",
            Self::Unread => "unread",
        }
    }

    /// What becomes of it by these rules, in a word. `reported`: it is about a parameter that servers report, and that
    /// follows its client anyway.
    pub fn outcome(self, rules: Rules, reported: bool) -> &'static str {
        if self == Self::RefusedStartup {
            return "refused"; // by PostgreSQL, whatever the mode
        }
        if rules.mode == PoolMode::Session {
            return "kept";
        }
        match rules.session_state {
            SessionState::PgBouncer if reported => "followed",
            SessionState::PgBouncer => "leaks",
            SessionState::Track | SessionState::Verify | SessionState::Pin | SessionState::Clean => {
                self.outcome_of_tracking(rules, reported)
            }
        }
    }

    fn outcome_of_tracking(self, rules: Rules, reported: bool) -> &'static str {
        let stays = if rules.session_state == SessionState::Clean { "cleaned" } else { "pinned" };
        match self {
            Self::RefusedStartup => "refused",
            Self::Startup | Self::Execute | Self::Deallocate => "followed",
            Self::Set if reported => "followed",
            Self::Set => match rules.session_state {
                SessionState::Track | SessionState::Verify | SessionState::PgBouncer => "followed",
                SessionState::Pin => "pinned",
                SessionState::Clean => "cleaned",
            },
            Self::Reset | Self::Discard => "restored",
            Self::Listen => outcome_of_listen(stays, rules),
            Self::Temporary | Self::AdvisoryLock | Self::HoldCursor | Self::Prepare => stays,
            Self::Load => "pinned", // nothing unloads a library
            Self::Seed => "leaks",
            Self::Opaque | Self::Unread => "asked", // and what the server tells of it is dealt with as above
        }
    }
}

/// What becomes of LISTEN outside session mode.
fn outcome_of_listen(stays: &'static str, rules: Rules) -> &'static str {
    if rules.follows() { "fanned out" } else { stays }
}

impl Session {
    /// Notes what a text uses that is about to run.
    pub(super) fn observe(&mut self, digest: &Digest, text: &[u8]) {
        let used = MARKS.into_iter().filter(|(_, marks)| digest.features.intersects(*marks));
        let reading = self.reading();
        let mut sample: Option<Rc<str>> = None;
        for (feature, _) in used {
            let text = sample.get_or_insert_with(|| sql::sample(text, reading).into());
            let named = matches!(feature, Feature::Set | Feature::Reset) && !digest.settings.is_empty();
            let names = if named { digest.settings.as_slice() } else { &[Box::default()] };
            for name in names {
                if self.uses.len() >= MAX_USES {
                    return;
                }
                self.uses.push(Use { feature, name: name.clone(), text: Rc::clone(text) });
            }
        }
    }

    /// Notes what a statement uses and may do that is parsed under a name of the server's own.
    pub(super) fn observe_parse(&mut self, header: FrameHeader, rest: &[u8]) {
        let Some(view) = whole_body(header, rest).and_then(ParseView::read) else {
            return self.note_unread();
        };
        let text = text_of(view.rest);
        let digest = self.digest(text);
        if let Some(digest) = &digest {
            self.observe(digest, text);
            if self.reads_texts() {
                self.note_traces(digest, text);
            }
        }
        if self.reads_texts() {
            self.keep_resets(view.name, digest);
        }
    }

    /// Whether something was noted since it was taken last.
    #[inline]
    pub const fn has_uses(&self) -> bool {
        !self.uses.is_empty()
    }

    /// Takes what was noted since the last call.
    pub fn take_uses(&mut self) -> Vec<Use> {
        std::mem::take(&mut self.uses)
    }
}
