//! What makes two clients share servers.

use std::fmt;
use std::rc::Rc;

/// Identity of a pool (S36): everything that decides whose servers these are. Two keys are equal only if both
/// names are, byte for byte; no counter, hash or index ever stands for them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    /// Database entry, by the name clients ask for.
    pub database: Rc<str>,
    /// Role in force on the server: the forced user, or the login user.
    pub user: Rc<str>,
}

impl PoolKey {
    /// The key of one database entry under one server role.
    pub fn new(database: impl Into<Rc<str>>, user: impl Into<Rc<str>>) -> Self {
        Self { database: database.into(), user: user.into() }
    }
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.database, self.user)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn s36_only_the_same_database_and_the_same_user_share_a_pool() {
        let keys: HashSet<PoolKey> =
            [("a", "bc"), ("ab", "c"), ("a", "c"), ("c", "a"), ("A", "c"), ("a", "c")]
                .map(|(database, user)| PoolKey::new(database, user))
                .into();
        assert_eq!(keys.len(), 5);
    }
}
