//! What replies prove about statements: the records of client and server change when the server answers (R52).

use super::conversation::{ServerFacts, Session};
use super::owed::{Owed, Why};
use super::settings::Settings;

impl Session {
    /// What the arrival of a reply proves (R52).
    #[inline]
    pub(super) fn completed(&mut self, owed: &Owed, facts: &mut ServerFacts) {
        match owed.why {
            Why::NamedParse => {
                facts.statements.confirm_parse();
                self.names.confirm();
            }
            Why::Prepare | Why::PrepareApart => facts.statements.confirm_parse(),
            Why::ClientDeallocate(id) => {
                facts.unnamed = self.unnamed.confirm();
                facts.statements.confirm_close(id);
                self.names.confirm();
            }
            Why::UnnamedParse
            | Why::PrepareUnnamed
            | Why::UnnamedClose
            | Why::ClientQuery
            | Why::ClientExecute(_)
            | Why::RefuseQuery(_) => {
                facts.unnamed = self.unnamed.confirm();
            }
            Why::Check(_) => self.checks -= 1,
            Why::Evict(id) => facts.statements.confirm_close(id),
            Why::PrivateClose(id) => {
                facts.statements.confirm_close(id);
                self.names.confirm();
            }
            Why::LocalParse | Why::LocalClose | Why::ParseAgain | Why::RefuseTaken(_) => self.names.confirm(),
            Why::Client | Why::Named(_) | Why::Own | Why::Heal | Why::Try | Why::Ask | Why::Refuse(_) => {}
        }
    }

    /// What a command tag proves.
    pub(super) fn command_completed(&mut self, command: &[u8], facts: &mut ServerFacts) {
        if self.channels.watches_tags() {
            self.channels.completed(command);
        }
        if matches!(command, b"DEALLOCATE ALL\0" | b"DISCARD ALL\0") {
            self.names.clear();
            facts.statements.clear();
            if command.starts_with(b"DISCARD") {
                facts.settings = Settings::default();
            }
        }
    }

    /// What an error in place of a reply proves.
    pub(super) fn failed(&mut self, owed: &Owed, facts: &mut ServerFacts) {
        match owed.why {
            Why::UnnamedParse | Why::PrepareUnnamed => {
                self.unnamed.fail();
                facts.unnamed = None;
            }
            Why::NamedParse
            | Why::Prepare
            | Why::PrepareApart
            | Why::Check(_)
            | Why::ClientDeallocate(_)
            | Why::Evict(_)
            | Why::UnnamedClose
            | Why::PrivateClose(_)
            | Why::LocalParse
            | Why::ParseAgain
            | Why::LocalClose
            | Why::Client
            | Why::Named(_)
            | Why::ClientQuery
            | Why::ClientExecute(_)
            | Why::Own
            | Why::Heal
            | Why::Try
            | Why::Ask
            | Why::RefuseQuery(_)
            | Why::RefuseTaken(_)
            | Why::Refuse(_) => self.skipped(owed, facts),
        }
    }

    /// What the server's skipping over a message proves: nothing of it happened.
    pub(super) fn skipped(&mut self, owed: &Owed, facts: &mut ServerFacts) {
        match owed.why {
            Why::NamedParse => {
                facts.statements.revoke_parse();
                self.names.revoke();
            }
            Why::Prepare | Why::PrepareApart => facts.statements.revoke_parse(),
            Why::ClientDeallocate(id) => {
                self.unnamed.revoke();
                facts.statements.revoke_close(id);
                self.names.revoke();
            }
            Why::LocalParse | Why::LocalClose | Why::ParseAgain | Why::RefuseTaken(_) => self.names.revoke(),
            Why::UnnamedParse
            | Why::PrepareUnnamed
            | Why::UnnamedClose
            | Why::ClientQuery
            | Why::ClientExecute(_)
            | Why::RefuseQuery(_) => {
                self.unnamed.revoke();
            }
            Why::Check(_) => self.checks -= 1,
            Why::Evict(id) => facts.statements.revoke_close(id),
            Why::PrivateClose(id) => {
                facts.statements.revoke_close(id);
                self.names.revoke();
            }
            Why::Client | Why::Named(_) | Why::Own | Why::Heal | Why::Try | Why::Ask | Why::Refuse(_) => {}
        }
    }
}
