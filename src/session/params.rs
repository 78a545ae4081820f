//! Parameters that follow a client from server to server.
//!
//! Only what PostgreSQL reports with ParameterStatus can be followed: the report is the proof that a value is in
//! force. Values are bytes as the server spelled them.

use std::rc::Rc;

/// Followed for every client, in the order of the welcome.
const BUILT_IN: [&str; 9] = [
    "client_encoding", // first: it decides how the others are read
    "DateStyle",
    "TimeZone",
    "standard_conforming_strings",
    "application_name",
    "IntervalStyle",
    "search_path",
    "default_transaction_read_only",
    "is_superuser", // nobody sets it: it comes with the role
];

/// Names of the followed parameters; the place of a name is its index in every [`ParamSet`].
#[derive(Debug, Clone)]
pub struct TrackedNames(Vec<Box<str>>);

impl TrackedNames {
    /// The index of `client_encoding`.
    pub const CLIENT_ENCODING: usize = 0;

    /// The index of `standard_conforming_strings`.
    pub const STANDARD_STRINGS: usize = 3;

    /// The index of `search_path`.
    pub(super) const SEARCH_PATH: usize = 6;

    /// Indexes of those that decide what names and literals in a text mean when it is parsed.
    pub(super) const READING: [usize; 6] =
        [Self::CLIENT_ENCODING, 1, 2, Self::STANDARD_STRINGS, 5, Self::SEARCH_PATH];

    /// The index of `application_name`.
    pub const APPLICATION_NAME: usize = 4;

    /// The index of `is_superuser`.
    pub(super) const IS_SUPERUSER: usize = 8;

    /// The built-in names and those configured beside them.
    pub fn new(extra: &[String]) -> Self {
        let mut names: Vec<Box<str>> = BUILT_IN.iter().map(|&name| name.into()).collect();
        for name in extra {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.as_str().into());
            }
        }
        Self(names)
    }

    /// The index of a name, in any case.
    pub fn index(&self, name: &[u8]) -> Option<usize> {
        self.0.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The name at an index.
    pub fn name(&self, index: usize) -> &str {
        self.0.get(index).map_or("", |name| name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: the built-in names are always there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The value of each followed parameter; `None` where the server does not report it.
///
/// Clones share the values until one of them changes. Most clients of a pool, and its servers, have the same ones.
#[derive(Debug, Clone, Default)]
pub struct ParamSet(Option<Rc<Values>>);

type Values = Vec<Option<Rc<[u8]>>>;

impl ParamSet {
    /// The value at an index.
    pub fn value(&self, index: usize) -> Option<&[u8]> {
        self.values().get(index)?.as_deref()
    }

    /// Sets the value at an index. When nothing changes, what was shared stays so.
    pub fn set(&mut self, index: usize, value: &[u8]) {
        if self.value(index) == Some(value) {
            return;
        }
        let values = Rc::make_mut(self.0.get_or_insert_default());
        if values.len() <= index {
            values.resize(index + 1, None);
        }
        if let Some(slot) = values.get_mut(index) {
            *slot = Some(value.into());
        }
    }

    /// Shares the values of `other` if they are the same.
    pub fn share(&mut self, other: &Self) {
        if !self.is_shared_with(other) && self == other {
            self.clone_from(other);
        }
    }

    /// Whether both are one: then they are equal, which costs nothing to see.
    #[inline]
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(another)) => Rc::ptr_eq(one, another),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// All values by index.
    pub fn all(&self) -> impl Iterator<Item = (usize, Option<&[u8]>)> {
        self.values().iter().map(|value| value.as_deref()).enumerate()
    }

    fn values(&self) -> &[Option<Rc<[u8]>>] {
        self.0.as_ref().map_or(&[], |values| values.as_slice())
    }

    /// Takes over the values that `self` does not have.
    pub fn fill_from(&mut self, other: &Self) {
        if self.0.is_none() {
            self.clone_from(other);
            return;
        }
        for (index, value) in other.values().iter().enumerate() {
            if let Some(value) = value
                && self.value(index).is_none()
            {
                self.set(index, value);
            }
        }
    }

    /// Indexes and values that a server with `in_force` must be told before it may work for `self`.
    pub fn differing<'a>(&'a self, in_force: &'a Self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let wanted = if self.is_shared_with(in_force) { &[] } else { self.values() };
        wanted.iter().enumerate().filter_map(move |(index, wanted)| {
            let wanted = wanted.as_deref()?;
            (index != TrackedNames::IS_SUPERUSER && in_force.value(index)? != wanted)
                .then_some((index, wanted))
        })
    }
}

impl PartialEq for ParamSet {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || self.values() == other.values()
    }
}

impl Eq for ParamSet {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_an_index_of_their_own_have_it() {
        let names = TrackedNames::new(&[]);
        assert_eq!(names.name(TrackedNames::APPLICATION_NAME), "application_name");
        assert_eq!(names.name(TrackedNames::CLIENT_ENCODING), "client_encoding");
        assert_eq!(names.name(TrackedNames::IS_SUPERUSER), "is_superuser");
        assert_eq!(names.name(TrackedNames::STANDARD_STRINGS), "standard_conforming_strings");
        let reading = TrackedNames::READING.map(|at| names.name(at));
        assert_eq!(reading[1..3], ["DateStyle", "TimeZone"]);
        assert_eq!(reading[4..], ["IntervalStyle", "search_path"]);
    }

    #[test]
    fn what_drivers_rely_on_is_followed_whatever_is_configured() {
        let names = TrackedNames::new(&[]);
        for name in
            ["client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings", "IntervalStyle"]
        {
            assert!(names.index(name.as_bytes()).is_some(), "{name}");
        }
    }

    #[test]
    fn only_what_the_server_reports_and_the_client_wants_otherwise_is_set() {
        let names = TrackedNames::new(&["lc_messages".into(), "intervalstyle".into()]);
        assert_eq!(names.len(), 10, "a name given twice counts once");
        let zone = names.index(b"timezone").unwrap();
        let path = names.index(b"search_path").unwrap();
        let (mut client, mut server) = (ParamSet::default(), ParamSet::default());
        client.set(zone, b"UTC");
        client.set(path, b"evil");
        server.set(zone, b"CET");
        let differing: Vec<_> = client.differing(&server).collect();
        assert_eq!(differing, [(zone, &b"UTC"[..])], "search_path is not reported by this server");
        server.set(zone, b"UTC");
        assert_eq!(client.differing(&server).count(), 0);
        let mut welcome = ParamSet::default();
        welcome.fill_from(&client);
        assert_eq!(welcome, client);
        assert!(welcome.is_shared_with(&client), "all of them are the other's");
        welcome.set(path, b"evil");
        assert!(welcome.is_shared_with(&client), "nothing has changed");
        welcome.set(path, b"own");
        assert_eq!((client.value(path), welcome.value(path)), (Some(&b"evil"[..]), Some(&b"own"[..])));
        welcome.set(path, b"evil");
        welcome.share(&client);
        assert!(welcome.is_shared_with(&client), "the same again");
    }
}
