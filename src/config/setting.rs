//! What the file knows about one key.
//!
//! Owns: the form of a row in the tables of settings. Does not know: which rows there are.

use std::path::Path;

use super::kind::Kind;
use super::problem::Fault;
use super::raw::Raw;

/// One key of a section whose values go into a `T`.
pub struct Setting<T> {
    /// The key.
    pub name: &'static str,
    /// What holds if the key is absent.
    pub default: Fallback,
    /// One line of meaning.
    pub meaning: &'static str,
    /// Whether a reload can change it.
    pub changeable: bool,
    kind: Kind<T>,
}

/// What holds if a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This value.
    Is(&'static str),
    /// Nothing; written as an empty text.
    Unset,
    /// The value of this key of `[pooler]`.
    Inherits(&'static str),
}

impl<T> Setting<T> {
    /// A row that a reload can change.
    pub(super) const fn row(name: &'static str, default: Fallback, kind: Kind<T>) -> Self {
        Self { name, default, meaning: "", changeable: true, kind }
    }

    /// The same row with its line of meaning.
    pub(super) const fn means(mut self, meaning: &'static str) -> Self {
        self.meaning = meaning;
        self
    }

    /// The same row, fixed from start to end of the process.
    pub(super) const fn fixed(mut self) -> Self {
        self.changeable = false;
        self
    }

    /// The unit or form of the value, for humans.
    pub fn unit(&self) -> String {
        self.kind.unit()
    }

    /// Whether the value must never be shown.
    pub(super) const fn is_secret(&self) -> bool {
        self.kind.is_secret()
    }

    /// Checks a value and puts it into `target`; answers how the console shows it.
    ///
    /// # Errors
    /// What could stand there instead; `target` is then as it was.
    pub(super) fn apply(&self, raw: &Raw, base: &Path, target: &mut T) -> Result<Option<String>, Fault> {
        let shown = self.kind.apply(raw, base, target)?;
        let nothing = self.default == Fallback::Unset;
        Ok(shown.filter(|text| !(nothing && text.is_empty())))
    }

    /// Puts the default into `target`; answers how the console shows it.
    ///
    /// # Errors
    /// Never: a test reads every default.
    pub(super) fn apply_default(&self, target: &mut T) -> Result<Option<String>, Fault> {
        match self.default {
            Fallback::Is(text) => self.apply(&Raw::Text(text.to_owned()), Path::new(""), target),
            Fallback::Unset | Fallback::Inherits(_) => Ok(None),
        }
    }

    /// The default as the console shows it.
    pub(super) fn shown_default(&self) -> Option<String> {
        match self.default {
            Fallback::Is(text) => Some(text.to_owned()),
            Fallback::Unset | Fallback::Inherits(_) => None,
        }
    }
}

impl<T> std::fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting")
            .field("name", &self.name)
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}
