//! The command line.
//!
//! Owns: what can be asked for and how it is explained. Does not know: how any of it is done.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};
use pooler::control::logging::Volume;
use zeroize::Zeroizing;

/// Environment variable that may hold the URL, so that it does not stand in the list of processes.
pub(crate) const URL_VARIABLE: &str = "POOLER_URL";

/// What is printed when nothing was asked for.
pub(crate) const NOTHING_GIVEN: &str = "\
pooler: no configuration given

  pooler pooler.toml          start with a configuration file
  pooler postgres://...       start for one database
  pooler --help               everything else";

const EXAMPLES: &str = "\
Examples:
  pooler pooler.toml
      Start. SIGHUP reads the file again; SIGTERM ends when all transactions
      are done.
  pooler check pooler.toml
      Say everything that is wrong with a file, and do nothing else.
  POOLER_URL=postgres://app:secret@db.example:5432/shop pooler
      Start for one database without a file, listening on 127.0.0.1:6432.
      The URL may also be given as an argument, but then every user of this
      machine can see it in the list of processes (ps).

The log goes to stderr. Exit status: 0 after a normal end, 1 if the start
fails or a checked file has problems, 2 if the command line is wrong.";

/// A PostgreSQL connection pooler that takes PgBouncer's place.
#[derive(Debug, Parser)]
#[command(name = "pooler", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, max_term_width = 110)]
struct Args {
    /// Configuration file (TOML), or the URL of one database [env: POOLER_URL, for a URL]
    #[arg(value_name = "CONFIG|URL")]
    target: Option<OsString>,

    /// Log errors only
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Log more than `log_level` says: -v for debugging, -vv for everything
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check a configuration file: prints every problem, or one line if there is none
    Check {
        /// Configuration file (TOML)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Where the settings come from. No `Debug`: a URL holds a password.
pub(crate) enum Target {
    /// A file.
    File(PathBuf),
    /// The URL of one database.
    Url(Zeroizing<String>),
}

/// What is to be done.
pub(crate) enum Invocation {
    /// Run the pooler.
    Serve(Target, Volume),
    /// Check a file.
    Check(PathBuf),
    /// Nothing was asked for.
    Nothing,
}

/// Reads the command line. `url` is the value of [`URL_VARIABLE`]; an argument goes before it.
///
/// # Errors
/// What clap says; `--help` and `--version` are among it.
pub(crate) fn read(
    args: impl IntoIterator<Item = OsString>,
    url: Option<String>,
) -> Result<Invocation, clap::Error> {
    let Args { target, quiet, verbose, command } = Args::try_parse_from(args)?;
    if let Some(Verb::Check { file }) = command {
        return Ok(Invocation::Check(file));
    }
    let volume = match (quiet, verbose) {
        (true, _) => Volume::Quiet,
        (false, 0) => Volume::Configured,
        (false, 1) => Volume::Debug,
        (false, _) => Volume::Trace,
    };
    let url = url.filter(|url| !url.is_empty()).map(Zeroizing::new);
    Ok(match target.map(classify).or(url.map(Target::Url)) {
        Some(target) => Invocation::Serve(target, volume),
        None => Invocation::Nothing,
    })
}

fn classify(target: OsString) -> Target {
    match target.into_string() {
        Ok(text) if is_url(&text) => Target::Url(Zeroizing::new(text)),
        Ok(path) => Target::File(path.into()),
        Err(path) => Target::File(path.into()),
    }
}

/// Whether an argument was meant as a URL. One of another scheme is refused as a URL too: taken for a file's name, it
/// would show its password in the error.
fn is_url(text: &str) -> bool {
    text.contains("://")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    const URL: &str = "postgres://app:secret@db/shop";

    fn given(args: &[&str], url: Option<&str>) -> Result<Invocation, clap::Error> {
        let args = std::iter::once("pooler").chain(args.iter().copied()).map(OsString::from);
        read(args, url.map(str::to_owned))
    }

    fn served(args: &[&str], url: Option<&str>) -> (Target, Volume) {
        match given(args, url) {
            Ok(Invocation::Serve(target, volume)) => (target, volume),
            _ => panic!("{args:?} does not serve"),
        }
    }

    fn refused(args: &[&str]) -> clap::Error {
        given(args, None).err().unwrap_or_else(|| panic!("{args:?} was accepted"))
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_file_a_url_and_the_variable_are_told_apart() {
        assert!(matches!(served(&["pooler.toml"], None).0, Target::File(p) if p == Path::new("pooler.toml")));
        for scheme in ["postgres://", "postgresql://", "Postgres://"] {
            let url = format!("{scheme}app:secret@db/shop");
            assert!(matches!(served(&[&url], None).0, Target::Url(given) if *given == url));
        }
        assert!(matches!(served(&[], Some(URL)).0, Target::Url(given) if *given == URL));
        assert!(matches!(served(&["a.toml"], Some(URL)).0, Target::File(_)), "an argument goes first");
        assert!(matches!(served(&["postgres"], None).0, Target::File(_)));
        assert!(matches!(served(&["./check"], None).0, Target::File(_)));
    }

    #[test]
    fn nothing_given_is_neither_a_start_nor_a_crash() {
        assert!(matches!(given(&[], None), Ok(Invocation::Nothing)));
        assert!(matches!(given(&["-v"], Some("")), Ok(Invocation::Nothing)));
    }

    #[test]
    fn check_takes_exactly_one_file() {
        assert!(
            matches!(given(&["check", "a.toml"], None), Ok(Invocation::Check(file)) if file == Path::new("a.toml"))
        );
        assert_eq!(refused(&["check"]).kind(), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused(&["check", "a", "b"]).kind(), ErrorKind::UnknownArgument);
    }

    #[test]
    fn volume_is_pgbouncers_q_and_v() {
        assert_eq!(served(&["a.toml"], None).1, Volume::Configured);
        assert_eq!(served(&["-q", "a.toml"], None).1, Volume::Quiet);
        assert_eq!(served(&["-v", "a.toml"], None).1, Volume::Debug);
        assert_eq!(served(&["a.toml", "-vv"], None).1, Volume::Trace);
        assert_eq!(served(&["--verbose", "-v", "-v", "a.toml"], None).1, Volume::Trace);
        assert_eq!(refused(&["-q", "-v", "a.toml"]).kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn mistakes_are_usage_errors_that_do_not_repeat_the_password() {
        for args in [&["a.toml", "b.toml"][..], &["--frobnicate", URL], &[URL, "more"], &["-d", URL]] {
            let error = refused(args);
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn help_and_version_succeed_and_name_what_matters() {
        let help = refused(&["--help"]);
        assert_eq!(help.exit_code(), 0);
        for word in ["pooler check pooler.toml", "POOLER_URL", "Exit status", "SIGTERM", "CONFIG|URL"] {
            assert!(help.to_string().contains(word), "{word} is missing:\n{help}");
        }
        let version = refused(&["--version"]);
        assert_eq!(version.exit_code(), 0);
        assert_eq!(version.to_string().trim(), format!("pooler {}", env!("CARGO_PKG_VERSION")));
    }
}
