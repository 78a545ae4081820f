//! What PostgreSQL reports at login, for clients that log in to the pooler.
//!
//! Owns: the reports, as messages written once for all clients of a pool. Does not know: clients.

use std::ops::Range;
use std::rc::Rc;

use crate::proto::put_parameter_status;
use crate::session::{ParamSet, TrackedNames, Wished};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Welcome {
    /// Every reported parameter, in the order of the reports.
    reported: Vec<(Vec<u8>, Vec<u8>)>,
    /// The followed ones among them.
    followed: ParamSet,
    /// A ParameterStatus for each.
    messages: Vec<u8>,
    /// Which of them are of followed parameters, in order: the place among the reports, the index, and where the
    /// message is.
    places: Vec<(usize, usize, Range<usize>)>,
}

impl Welcome {
    /// Of reports in their order.
    pub fn new(reported: Vec<(Vec<u8>, Vec<u8>)>, names: &TrackedNames) -> Self {
        let mut followed = ParamSet::default();
        let (mut messages, mut places) = (Vec::new(), Vec::new());
        for (at, (name, value)) in reported.iter().enumerate() {
            let begin = messages.len();
            put_parameter_status(&mut messages, name, value);
            if let Some(index) = names.index(name) {
                followed.set(index, value);
                places.push((at, index, begin..messages.len()));
            }
        }
        Self { reported, followed, messages, places }
    }

    /// The followed parameters among those reported.
    pub const fn followed(&self) -> &ParamSet {
        &self.followed
    }

    /// Every reported parameter, in the order of the reports.
    pub fn reported(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.reported
    }

    /// Whether servers report just this value anyway.
    pub fn reports(&self, name: &[u8], value: &[u8]) -> bool {
        self.reported.iter().any(|(known, usual)| known.eq_ignore_ascii_case(name) && usual == value)
    }

    /// Appends a ParameterStatus for each report, with the values of `params` for the parameters that are followed.
    pub fn put(&self, out: &mut Vec<u8>, params: &ParamSet) {
        /// For values that are longer than those reported, and for what comes behind: one growth of the buffer.
        const MORE: usize = 128;
        out.reserve(self.messages.len() + MORE);
        let mut done = 0;
        for (at, index, place) in &self.places {
            let own = params.value(*index).filter(|own| self.followed.value(*index) != Some(*own));
            let Some((own, (name, _))) = own.zip(self.reported.get(*at)) else { continue };
            out.extend_from_slice(self.messages.get(done..place.start).unwrap_or_default());
            put_parameter_status(out, name, own);
            done = place.end;
        }
        out.extend_from_slice(self.messages.get(done..).unwrap_or_default());
    }

    /// The same with those values that differ between `before` and `after` as they are after.
    #[must_use]
    pub fn changed(&self, names: &TrackedNames, before: &ParamSet, after: &ParamSet) -> Self {
        let mut reported = self.reported.clone();
        for (at, index, _) in &self.places {
            let changed = after.value(*index).filter(|now| before.value(*index) != Some(*now));
            if let Some(((_, value), changed)) = reported.get_mut(*at).zip(changed) {
                *value = changed.to_vec();
            }
        }
        Self::new(reported, names)
    }
}

/// What the last client of a pool was told: most clients wish the same of the same servers.
#[derive(Debug, Default)]
pub struct Usual {
    of: Option<(Rc<Welcome>, Rc<Wished>)>,
    params: ParamSet,
    messages: Vec<u8>,
}

impl Usual {
    /// The parameters of a client, its own startup values over what the servers report, and a ParameterStatus for each
    /// report.
    pub fn of(&mut self, welcome: &Rc<Welcome>, wished: &Rc<Wished>) -> (ParamSet, &[u8]) {
        let is_known = self
            .of
            .as_ref()
            .is_some_and(|(reports, wishes)| Rc::ptr_eq(reports, welcome) && Rc::ptr_eq(wishes, wished));
        if !is_known {
            let mut params = welcome.followed().clone();
            wished.startup().over(&mut params);
            params.share(&self.params);
            self.params = params;
            self.messages.clear();
            welcome.put(&mut self.messages, &self.params);
            self.of = Some((Rc::clone(welcome), Rc::clone(wished)));
        }
        (self.params.clone(), &self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Startup;

    fn told(welcome: &Welcome, params: &ParamSet) -> Vec<u8> {
        let mut out = b"before".to_vec();
        welcome.put(&mut out, params);
        out.split_off(6)
    }

    fn messages(reports: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in reports {
            put_parameter_status(&mut out, name, value);
        }
        out
    }

    #[test]
    fn each_client_hears_of_its_own_wishes_whoever_came_before() {
        let names = TrackedNames::new(&[]);
        let zone = names.index(b"TimeZone").unwrap();
        let welcome = |value: &[u8]| {
            let reported = vec![(b"TimeZone".to_vec(), value.to_vec()), (b"x".to_vec(), b"y".to_vec())];
            Rc::new(Welcome::new(reported, &names))
        };
        let wish = |value: &[u8]| {
            let reported = vec![(zone, value.into())];
            Rc::new(Wished::from(Startup { reported, ..Startup::default() }))
        };
        let (before, after) = (welcome(b"UTC"), welcome(b"CET"));
        let (nothing, own) = (Rc::<Wished>::default(), wish(b"EST"));
        let mut usual = Usual::default();
        let mut zones = Vec::new();
        for (welcome, wished, value) in [
            (&before, &nothing, &b"UTC"[..]),
            (&before, &own, b"EST"),
            (&before, &own, b"EST"),
            (&after, &own, b"EST"),
            (&after, &nothing, b"CET"),
        ] {
            let (params, told) = usual.of(welcome, wished);
            assert_eq!(params.value(zone), Some(value));
            assert_eq!(told, messages(&[(b"TimeZone", value), (b"x", b"y")]));
            zones.push(params);
        }
        assert!(zones[1].is_shared_with(&zones[2]), "the same wishes");
        assert!(zones[1].is_shared_with(&zones[3]), "the same values");
    }

    #[test]
    fn every_client_hears_all_reports_in_their_order_with_its_own_values_in_their_places() {
        let names = TrackedNames::new(&[]);
        let reports: [(&[u8], &[u8]); 4] = [
            (b"TIMEZONE", b"UTC"),
            (b"server_version", b"15.0"),
            (b"DateStyle", b"ISO"),
            (b"is_superuser", b"on"),
        ];
        let welcome =
            Welcome::new(reports.map(|(name, value)| (name.to_vec(), value.to_vec())).into(), &names);
        assert_eq!(told(&welcome, &ParamSet::default()), messages(&reports));
        assert_eq!(told(&welcome, welcome.followed()), messages(&reports));
        let mut own = welcome.followed().clone();
        own.set(names.index(b"DateStyle").unwrap(), b"German, much longer");
        own.set(names.index(b"TimeZone").unwrap(), b"");
        own.set(names.index(b"search_path").unwrap(), b"not reported, so not told");
        let (mut expected, zone) = (reports, reports[0].0);
        expected[0] = (zone, b"");
        expected[2].1 = b"German, much longer";
        assert_eq!(told(&welcome, &own), messages(&expected));
        let changed = welcome.changed(&names, welcome.followed(), &own);
        assert_eq!(told(&changed, changed.followed()), messages(&expected));
        assert_eq!(told(&changed, welcome.followed()), messages(&reports));
    }
}
