//! A logged-in client for tests.

use std::rc::Rc;

use super::entry::ClientEntry;
use crate::net::{Ends, clock};
use crate::server::Home;

pub(crate) fn entry(home: &Rc<Home>) -> Rc<ClientEntry> {
    let home = Some(Rc::clone(home));
    Rc::new(ClientEntry { id: 7, key: (1, 2), home, ..ClientEntry::blank(clock::wall(), Ends::for_test()) })
}
