//! Settings that PostgreSQL does not report: what a client wants in force, and what a server has in force.
//!
//! Names are lower case, values as PostgreSQL itself spells them: they were read from a server. A name that is absent
//! has the server's own default. Most clients have none of them, and those that have the same ones share them.

use std::rc::Rc;

/// The name of `SET ROLE`.
pub(super) const ROLE: &[u8] = b"role";

/// The name of `SET SESSION AUTHORIZATION`.
pub(super) const SESSION_AUTHORIZATION: &[u8] = b"session_authorization";

/// Where names are looked for, and where new things are made.
pub(super) const SEARCH_PATH: &[u8] = b"search_path";

/// Names that are set like settings, and are a transaction's, or a seed that nobody can read: to set them again between
/// transactions is an error.
pub(super) const NOT_OF_SESSION: [&[u8]; 4] =
    [b"transaction_isolation", b"transaction_read_only", b"transaction_deferrable", b"seed"];

/// Ends a session that is idle. On a server that waits for its next client it would end the session of that one, so it is
/// in force only where the server stays with its client for that (`session_state = "pin"`), and in session mode.
pub(super) const IDLE_TIMEOUT: &[u8] = b"idle_session_timeout";

/// Settings one client may have; beyond, it leaks them.
pub(super) const MAX_SETTINGS: usize = 256;

/// A name with its value.
pub(super) type Pair = (Box<[u8]>, Box<[u8]>);

/// Sorted by name.
type Pairs = Vec<Pair>;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Settings(Option<Rc<Pairs>>);

impl Settings {
    /// Those given, the last of each name.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut settings = Self::default();
        for (name, value) in pairs {
            settings.set(name, value);
        }
        settings
    }

    /// Whether all have the server's default.
    pub fn is_empty(&self) -> bool {
        self.pairs().is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs().iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a name in lower case.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let pairs = self.pairs();
        let place = pairs.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        pairs.get(place).map(|(_, value)| &**value)
    }

    /// Sets a value. When nothing changes, what was shared stays so.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let name = name.to_ascii_lowercase();
        if self.get(&name) == Some(value) {
            return;
        }
        let pairs = Rc::make_mut(self.0.get_or_insert_default());
        match pairs.binary_search_by(|(known, _)| (**known).cmp(&name)) {
            Ok(place) => {
                if let Some((_, old)) = pairs.get_mut(place) {
                    *old = value.into();
                }
            }
            Err(place) => pairs.insert(place, (name.into(), value.into())),
        }
    }

    /// Forgets a value.
    pub fn remove(&mut self, name: &[u8]) {
        if self.get(name).is_none() {
            return;
        }
        if let Some(pairs) = &mut self.0 {
            Rc::make_mut(pairs).retain(|(known, _)| **known != *name);
        }
        if self.is_empty() {
            self.0 = None;
        }
    }

    /// Shares the values of `other` if they are the same.
    pub fn share(&mut self, other: &Self) {
        if self == other {
            self.clone_from(other);
        }
    }

    fn pairs(&self) -> &[Pair] {
        self.0.as_ref().map_or(&[], |pairs| pairs.as_slice())
    }

    /// Whether both are one: then they are equal, which costs nothing to see.
    #[inline]
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(another)) => Rc::ptr_eq(one, another),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// What a server with `in_force` must be told before it works for `self`, in an order in which it may be told:
    /// who the session is comes first where it has to become itself again, and last where it becomes another, since
    /// a lesser role could not change the rest. `None` gives a setting its default.
    pub fn differing<'a>(&'a self, in_force: &'a Self) -> Vec<(&'a [u8], Option<&'a [u8]>)> {
        if self.is_shared_with(in_force) {
            return Vec::new();
        }
        let is_identity = |name: &[u8]| name == ROLE || name == SESSION_AUTHORIZATION;
        let others_differ = |(name, value): &(&'a [u8], &'a [u8])| self.get(name) != Some(*value);
        let identity_differs = [SESSION_AUTHORIZATION, ROLE]
            .into_iter()
            .any(|name| in_force.get(name).is_some() && in_force.get(name) != self.get(name));
        let mut told = Vec::new();
        if identity_differs {
            told.extend([(SESSION_AUTHORIZATION, None), (ROLE, None)]);
        }
        let ordinary = |(name, _): &(&[u8], &[u8])| !is_identity(name);
        let gone = in_force.iter().filter(ordinary).filter(others_differ);
        told.extend(gone.filter(|(name, _)| self.get(name).is_none()).map(|(name, _)| (name, None)));
        let wanted = self.iter().filter(ordinary).filter(|(name, value)| in_force.get(name) != Some(*value));
        told.extend(wanted.map(|(name, value)| (name, Some(value))));
        for name in [SESSION_AUTHORIZATION, ROLE] {
            let value = self.get(name);
            if value.is_some() && (identity_differs || in_force.get(name) != value) {
                told.push((name, value));
            }
        }
        told
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || self.pairs() == other.pairs()
    }
}

impl Eq for Settings {}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(wanted: &[(&str, &str)], in_force: &[(&str, &str)]) -> String {
        let of = |pairs: &[(&str, &str)]| {
            Settings::from_pairs(pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())))
        };
        let (wanted, in_force) = (of(wanted), of(in_force));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let told = wanted.differing(&in_force);
        let told =
            told.iter().map(|(name, value)| format!("{}={}", text(name), value.map_or("-".into(), text)));
        told.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_the_difference_is_told() {
        assert_eq!(told(&[("work_mem", "7MB")], &[]), "work_mem=7MB");
        assert_eq!(told(&[("Work_Mem", "7MB")], &[("work_mem", "7MB")]), "");
        assert_eq!(told(&[], &[("work_mem", "7MB")]), "work_mem=-");
        assert_eq!(told(&[("a", "1"), ("b", "2")], &[("b", "3"), ("c", "4")]), "c=- a=1 b=2");
    }

    #[test]
    fn s33_a_session_becomes_itself_again_before_the_rest_and_another_after_it() {
        let (alice, bob) = (("role", "alice"), ("role", "bob"));
        assert_eq!(told(&[("a", "1")], &[alice]), "session_authorization=- role=- a=1");
        assert_eq!(told(&[("a", "1"), alice], &[]), "a=1 role=alice");
        assert_eq!(told(&[bob], &[alice]), "session_authorization=- role=- role=bob");
        assert_eq!(
            told(&[("session_authorization", "x"), bob], &[("session_authorization", "y"), bob]),
            "session_authorization=- role=- session_authorization=x role=bob"
        );
    }

    #[test]
    fn equal_ones_are_shared() {
        let one = Settings::from_pairs([(&b"a"[..], &b"1"[..])]);
        let mut other = Settings::from_pairs([(&b"a"[..], &b"1"[..])]);
        other.share(&one);
        assert!(other.is_shared_with(&one));
        other.set(b"a", b"1");
        assert!(other.is_shared_with(&one), "nothing has changed");
        other.remove(b"a");
        assert!(other.is_empty() && one.get(b"a") == Some(b"1"));
    }
}
