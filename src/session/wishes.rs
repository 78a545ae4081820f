//! What a client wants in force on whichever server works for it, beyond what servers report.

use std::rc::Rc;

use super::ear::Ear;
use super::params::{ParamSet, TrackedNames};
use super::settings::{ROLE, Settings};

/// The values of a client's startup packet, as PostgreSQL understood them: what RESET goes back to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Those of followed parameters, by index.
    pub reported: Vec<(usize, Box<[u8]>)>,
    /// All others.
    pub settings: Settings,
}

impl Startup {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.reported.is_empty() && self.settings.is_empty()
    }

    /// The value of a followed parameter.
    pub(super) fn of_reported(&self, index: usize) -> Option<&[u8]> {
        self.reported.iter().find(|(known, _)| *known == index).map(|(_, value)| &**value)
    }

    /// Names and values of those that `which` wants.
    pub(super) fn chosen<'a>(
        &'a self,
        names: &'a TrackedNames,
        which: &Restore,
    ) -> Vec<(&'a [u8], Option<&'a [u8]>)> {
        let settable = self.reported.iter().filter(|(index, _)| *index != TrackedNames::IS_SUPERUSER);
        let reported = settable.map(|(index, value)| (names.name(*index).as_bytes(), &**value));
        let all = reported.chain(self.settings.iter());
        all.filter(|(name, _)| which.has(name)).map(|(name, value)| (name, Some(value))).collect()
    }

    /// The values over those of a server.
    pub fn over(&self, params: &mut ParamSet) {
        for (index, value) in &self.reported {
            params.set(*index, value);
        }
    }
}

/// Which parameters were reset just now, so that the client's own startup values have to be put in force again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Restore {
    /// All.
    All,
    /// All but the role, which RESET ALL leaves alone (`GUC_NO_RESET_ALL`).
    Settings,
    /// Those of these names.
    Named(Vec<Box<[u8]>>),
    /// Those that the server has reset, which it is asked: what came beside may have undone it, or set them anew.
    AsFound,
    /// Those but the role, which nothing may have reset.
    SettingsAsFound,
}

impl Restore {
    /// Whether the server is asked.
    pub(super) const fn asks(&self) -> bool {
        matches!(self, Self::AsFound | Self::SettingsAsFound)
    }

    /// As the server tells, for what `self` and `other` are about.
    pub(super) fn as_found_with(&self, other: &Self) -> Self {
        if self.has(ROLE) || other.has(ROLE) { Self::AsFound } else { Self::SettingsAsFound }
    }

    pub(super) fn has(&self, name: &[u8]) -> bool {
        match self {
            Self::All | Self::AsFound => true,
            Self::Settings | Self::SettingsAsFound => !name.eq_ignore_ascii_case(ROLE),
            Self::Named(names) => names.iter().any(|known| known.eq_ignore_ascii_case(name)),
        }
    }
}

/// See the module. Most clients wish nothing, or just what their startup packets say, and then they share it.
#[derive(Debug, Default)]
pub(super) struct Wishes(Option<Rc<Wished>>);

/// What clients wish that said the same in their startup packets and have changed nothing, or the same.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Wished {
    startup: Startup,
    /// What is wanted now.
    settings: Settings,
    /// What it listens with, while it is idle.
    ear: Option<Rc<Ear>>,
}

impl From<Startup> for Wished {
    fn from(startup: Startup) -> Self {
        Self { settings: startup.settings.clone(), startup, ear: None }
    }
}

impl Wished {
    /// The values of the startup packet.
    pub const fn startup(&self) -> &Startup {
        &self.startup
    }
}

impl Wishes {
    pub(super) fn new(wished: Rc<Wished>) -> Self {
        let nothing = wished.startup.is_empty() && wished.settings.is_empty() && wished.ear.is_none();
        Self((!nothing).then_some(wished))
    }

    /// What it wants in force now.
    pub(super) fn settings(&self) -> Settings {
        self.0.as_ref().map(|wished| wished.settings.clone()).unwrap_or_default()
    }

    /// The value wanted of a setting, by its name in lower case.
    pub(super) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.as_ref()?.settings.get(name)
    }

    /// Whether a server with `in_force` has just these, which costs nothing to see. `false` may mean either.
    #[inline]
    pub(super) fn are_shared_with(&self, in_force: &Settings) -> bool {
        match &self.0 {
            Some(wished) => wished.settings.is_shared_with(in_force),
            None => in_force.is_shared_with(&Settings::default()),
        }
    }

    pub(super) fn set_settings(&mut self, settings: Settings) {
        let mut wished = self.0.take().unwrap_or_default();
        if wished.settings != settings {
            Rc::make_mut(&mut wished).settings = settings;
        }
        *self = Self::new(wished);
    }

    /// What it listens with, as of its last rest.
    pub(super) fn ear(&self) -> Option<Rc<Ear>> {
        self.0.as_ref()?.ear.clone()
    }

    /// Keeps what it listens with over its rest.
    pub(super) fn keep_ear(&mut self, ear: Option<&Rc<Ear>>) {
        let known = self.0.as_ref().and_then(|wished| wished.ear.as_ref());
        if known != ear {
            let mut wished = self.0.take().unwrap_or_default();
            Rc::make_mut(&mut wished).ear = ear.cloned();
            *self = Self::new(wished);
        }
    }

    pub(super) fn startup(&self) -> Option<&Startup> {
        self.0.as_ref().map(|wished| &wished.startup).filter(|startup| !startup.is_empty())
    }
}
