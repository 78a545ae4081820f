//! The program: reads the command line and the settings, and lets the library do the rest.
//!
//! Exit status: 0 after a normal end, 1 if the start fails or a checked file has problems, 2 for a wrong command
//! line. What goes wrong before there is a log is printed to stderr as it is.

mod cli;

use std::path::Path;
use std::process::ExitCode;

use cli::{Invocation, Target};
use pooler::config::{self, Config, Loaded};
use pooler::control::{self, Origin, logging};
use pooler::net::TlsContext;

/// It gives memory back when a crowd of clients has left, which that of glibc does not. It must not ask for huge pages
/// (`no_thp`): with them it takes 12 MB more from the start.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let url = std::env::var(cli::URL_VARIABLE).ok();
    match cli::read(std::env::args_os(), url) {
        Ok(Invocation::Serve(target, volume)) => serve(target, volume),
        Ok(Invocation::Check(file)) => check(&file),
        Ok(Invocation::Nothing) => {
            eprintln!("{}", cli::NOTHING_GIVEN);
            ExitCode::from(2)
        }
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
        }
    }
}

fn serve(target: Target, volume: logging::Volume) -> ExitCode {
    let (origin, loaded) = match target {
        Target::File(path) => {
            let loaded = load(&path);
            (Origin::File(path), loaded)
        }
        Target::Url(url) => {
            let config = config::from_url(&url).map_err(|problem| problem.to_string());
            (Origin::Url, config.map(|config| Loaded { config, warnings: Vec::new() }))
        }
    };
    let Loaded { config, warnings } = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&format!("{problems}\npooler: cannot load the configuration")),
    };
    let log = match logging::init(&config.process, volume) {
        Ok(log) => log,
        Err(error) => return refuse(&format!("pooler: {error}")),
    };
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match control::run(origin, config, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Says everything that is wrong with a file, or that nothing is.
fn check(file: &Path) -> ExitCode {
    let Loaded { config, warnings } = match load(file) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    if let Err(error) = logging::check_level(&config.process.log_level) {
        return refuse(&format!("{}: {error}", file.display()));
    }
    if let Err(problem) = TlsContext::load(&config.client_tls, &config.server_tls) {
        return refuse(&format!("{}: TLS: {problem}", file.display()));
    }
    println!("{}: ok ({})", file.display(), summary(&config));
    ExitCode::SUCCESS
}

fn summary(config: &Config) -> String {
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}", count(config.databases.len(), "database"), count(config.users.len(), "user"))
}

fn load(file: &Path) -> Result<Loaded, String> {
    config::load(file, &|name| std::env::var(name).ok()).map_err(|problems| problems.to_string())
}

fn refuse(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_in_words() {
        let mut config = config::from_url("postgres://app:secret@127.0.0.1:5432/shop").unwrap();
        config.users = [("a".to_owned(), config::User::default())].into();
        assert!(summary(&config).ends_with(", 1 user"));
        config.users.insert("b".to_owned(), config::User::default());
        config.databases.clear();
        assert_eq!(summary(&config), "0 databases, 2 users");
    }
}
