//! Reads the settings again, all or nothing.
//!
//! Owns: where the settings came from, and the decision whether new ones may take effect. Does not know: who asked,
//! or how workers take them over.
//!
//! Invariant: either everything that was read is good and becomes one [`Fresh`], or nothing changes.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use super::logging;
use crate::config::{self, Config, Loaded};
use crate::net::TlsContext;

/// Where the settings came from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// A file, which a reload reads again.
    File(PathBuf),
    /// A URL; a reload reads only certificates and keys again.
    Url,
}

/// New settings, checked, with TLS material that works.
pub(super) struct Fresh {
    pub(super) config: Arc<Config>,
    pub(super) tls: Arc<TlsContext>,
    /// Lines for the log: what the file got a warning for, and what takes effect only after a restart.
    pub(super) remarks: Vec<String>,
}

/// Why nothing changed: one line per problem.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) Vec<String>);

/// Reads file and TLS material. Blocks on the file system.
pub(super) fn read(origin: &Origin, current: &Arc<Config>) -> Result<Fresh, Refused> {
    let load = || match origin {
        Origin::File(path) => config::load(path, &|name| std::env::var(name).ok()).map(Some),
        Origin::Url => Ok(None),
    };
    prepare(current, load, |config| TlsContext::load(&config.client_tls, &config.server_tls))
}

fn prepare<P: Display, T: Display>(
    current: &Arc<Config>,
    load: impl FnOnce() -> Result<Option<Loaded>, P>,
    load_tls: impl FnOnce(&Config) -> Result<TlsContext, T>,
) -> Result<Fresh, Refused> {
    let (config, remarks) = match load() {
        Ok(Some(loaded)) => {
            let mut remarks = lines(&loaded.warnings);
            remarks.extend(lines(&config::diff(current, &loaded.config).postponed));
            (Arc::new(config::keep_fixed(current, loaded.config)), remarks)
        }
        Ok(None) => (Arc::clone(current), Vec::new()),
        Err(problems) => return Err(Refused(lines(&[problems]))),
    };
    logging::check_level(&config.process.log_level).map_err(|problem| Refused(lines(&[problem])))?;
    let tls = load_tls(&config).map_err(|problem| Refused(vec![format!("TLS setup failed: {problem}")]))?;
    Ok(Fresh { config, tls: Arc::new(tls), remarks })
}

fn lines(problems: &[impl Display]) -> Vec<String> {
    problems
        .iter()
        .flat_map(|problem| problem.to_string().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::config_with;
    use super::*;

    fn good_tls(config: &Config) -> Result<TlsContext, String> {
        TlsContext::load(&config.client_tls, &config.server_tls).map_err(|problem| problem.to_string())
    }

    fn bad_tls(_: &Config) -> Result<TlsContext, String> {
        Err("no such key".to_owned())
    }

    #[allow(clippy::unnecessary_wraps)] // the shape of what is read
    fn loaded(databases: &[&str]) -> Option<Loaded> {
        Some(Loaded { config: config_with(databases), warnings: Vec::new() })
    }

    #[test]
    fn f66_a_good_file_with_good_keys_takes_effect() {
        let current = Arc::new(config_with(&["old"]));
        let Ok(fresh) = prepare(&current, || Ok::<_, String>(loaded(&["new"])), good_tls) else {
            panic!("refused")
        };
        assert!(fresh.config.databases.contains_key("new"));
        assert!(!fresh.config.databases.contains_key("old"));
    }

    #[test]
    fn f66_a_broken_file_is_refused_with_every_problem() {
        let current = Arc::new(config_with(&["old"]));
        let broken = || Err("pooler.toml:3: a\npooler.toml:9: b");
        let refused = prepare(&current, broken, good_tls).err();
        assert_eq!(refused, Some(Refused(vec!["pooler.toml:3: a".into(), "pooler.toml:9: b".into()])));
    }

    #[test]
    fn f66_a_good_file_with_broken_keys_is_refused_whole() {
        let current = Arc::new(config_with(&["old"]));
        let refused = prepare(&current, || Ok::<_, String>(loaded(&["new"])), bad_tls).err();
        assert_eq!(refused, Some(Refused(vec!["TLS setup failed: no such key".into()])));
    }

    #[test]
    fn a_start_from_a_url_reloads_keys_only() {
        let current = Arc::new(config_with(&["old"]));
        let Ok(fresh) = prepare(&current, || Ok::<_, String>(None), good_tls) else { panic!("refused") };
        assert!(Arc::ptr_eq(&fresh.config, &current));
        assert!(prepare(&current, || Ok::<_, String>(None), bad_tls).is_err());
    }

    #[test]
    fn f66_a_level_that_the_log_does_not_know_is_refused() {
        let current = Arc::new(config_with(&["old"]));
        let loud = || {
            let mut config = config_with(&["new"]);
            config.process.log_level = "pooler=loud".into();
            Ok::<_, String>(Some(Loaded { config, warnings: Vec::new() }))
        };
        assert!(prepare(&current, loud, good_tls).is_err());
    }

    #[test]
    fn a_file_that_vanished_is_refused() {
        let current = Arc::new(config_with(&["old"]));
        let origin = Origin::File("/nonexistent/pooler.toml".into());
        assert!(read(&origin, &current).is_err());
    }
}
