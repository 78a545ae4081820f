//! The log: lines on stderr, for humans or as JSON.
//!
//! Owns: format, filter and escaping. Does not know: who logs what.
//!
//! Invariant: one event is one line, whatever a peer has put into a name: control characters are escaped in both
//! formats (S46).

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{LogFormat, Process};

/// How much the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Volume {
    /// Errors only.
    Quiet,
    /// What `log_level` says.
    #[default]
    Configured,
    /// Debugging lines too.
    Debug,
    /// Everything.
    Trace,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log_level` is no filter.
    #[error("log_level: \"{level}\" is not a level or filter: {cause}")]
    Level {
        /// What was configured.
        level: String,
        /// What is wrong with it.
        cause: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else has set up a log in this process.
    #[error("the log is set up already")]
    Twice,
}

/// The means to follow `log_level` when a reload changes it.
#[derive(Debug, Clone, Default)]
pub struct Dial(Option<reload::Handle<EnvFilter, Registry>>);

impl Dial {
    /// Takes this level from now on, unless the command line has decided or there is no log.
    ///
    /// # Errors
    /// The text is no filter; the old one stays.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        let filter = filter(level)?;
        if let Some(handle) = &self.0 {
            // It fails only if the log is gone, and then nobody misses the level.
            let _ = handle.reload(filter);
        }
        Ok(())
    }
}

/// Sets up the log of the process, and lets panics go there too.
///
/// # Errors
/// See [`LogError`].
pub fn init(process: &Process, volume: Volume) -> Result<Dial, LogError> {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (subscriber, dial) = subscriber(process, volume, colours, Stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(dial)
}

/// Whether `log_level` is a level or filter.
///
/// # Errors
/// It is not.
pub fn check_level(level: &str) -> Result<(), LogError> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(level).map_err(|cause| LogError::Level { level: level.to_owned(), cause })
}

/// Logs where it happened. The message is told only if it was fixed when the program was built: one that was put
/// together at run time may quote what a client sent.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
    let text = panic.payload().downcast_ref::<&str>().unwrap_or(&"(message withheld)");
    tracing::error!("panic at {place}: {text}");
}

fn subscriber<W>(
    process: &Process,
    volume: Volume,
    colours: bool,
    writer: W,
) -> Result<(Box<dyn Subscriber + Send + Sync>, Dial), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let directives = match volume {
        Volume::Quiet => "error",
        Volume::Configured => process.log_level.as_str(),
        Volume::Debug => "info,pooler=debug",
        Volume::Trace => "info,pooler=trace",
    };
    let (filter, handle) = reload::Layer::new(filter(directives)?);
    let dial = Dial((volume == Volume::Configured).then_some(handle));
    let registry = tracing_subscriber::registry().with(filter);
    // A log that cannot be written must not end the process by a panic about it.
    let layer = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match process.log_format {
        LogFormat::Text => {
            let fields =
                debug_fn(|writer, field, value| write_field(writer, field.name(), value)).delimited(" ");
            let layer = layer.with_writer(writer).with_ansi(colours).with_target(false).fmt_fields(fields);
            Box::new(registry.with(layer))
        }
        LogFormat::Json => {
            let layer = layer.with_writer(JsonLines(writer)).json().flatten_event(true).with_span_list(false);
            Box::new(registry.with(layer))
        }
    };
    Ok((subscriber, dial))
}

fn write_field(writer: &mut Writer<'_>, name: &str, value: &dyn fmt::Debug) -> fmt::Result {
    if name != "message" {
        write!(writer, "{name}=")?;
    }
    write!(Visible(writer), "{value:?}")
}

/// Writes control characters as escapes: a newline becomes `\n`, an escape `\u{1b}`.
struct Visible<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Visible<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for run in text.split_inclusive(char::is_control) {
            let mut end = run.chars();
            match end.next_back() {
                Some(last) if last.is_control() => {
                    self.0.write_str(end.as_str())?;
                    write!(self.0, "{}", last.escape_debug())?;
                }
                _ => self.0.write_str(run)?,
            }
        }
        Ok(())
    }
}

/// Standard error, unbuffered; a line is written whole.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = io::Stderr;

    fn make_writer(&'a self) -> Self::Writer {
        io::stderr()
    }
}

/// Escapes the control characters that JSON allows inside strings but a terminal obeys (DEL, U+0080 to U+009F).
struct JsonLines<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for JsonLines<W> {
    type Writer = JsonLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        JsonLine(self.0.make_writer())
    }
}

/// Receives one whole line at a time.
struct JsonLine<W>(W);

impl<W: io::Write> io::Write for JsonLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let obeyed = |c: char| c.is_control() && c != '\n';
        if text.contains(obeyed) {
            let mut escaped = String::with_capacity(text.len() + 16);
            for c in text.chars() {
                if obeyed(c) {
                    let _ = write!(escaped, "\\u{:04x}", u32::from(c));
                } else {
                    escaped.push(c);
                }
            }
            self.0.write_all(escaped.as_bytes())?;
        } else {
            self.0.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::testing::config_with;
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, volume: Volume, event: impl FnOnce(&Dial)) -> String {
        let mut process = config_with(&[]).process;
        process.log_format = format;
        process.log_level = "info".into();
        let kept = Kept::default();
        let writer = kept.clone();
        let (subscriber, dial) = subscriber(&process, volume, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || event(&dial));
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const EVIL: &str = "a\nFATAL forged\r\t\x1b[2J\x07\x7f\u{9b}31m\u{0}z";

    fn say_evil_things(_: &Dial) {
        let span = tracing::info_span!("client", user = EVIL, db = %EVIL);
        let _inside = span.enter();
        tracing::info!(reason = %EVIL, quoted = EVIL, "told {EVIL}");
    }

    #[test]
    fn s46_f75_one_event_is_one_line_of_text() {
        let line = logged(LogFormat::Text, Volume::Configured, say_evil_things);
        assert!(line.ends_with('\n'));
        assert!(!line.trim_end_matches('\n').contains(char::is_control), "{line:?}");
        assert_eq!(
            line.matches("a\\nFATAL forged").count() + line.matches("a\\\\nFATAL").count(),
            5,
            "{line}"
        );
        assert!(line.contains(" INFO client{user="), "{line}");
    }

    #[test]
    fn s46_one_event_is_one_line_of_json() {
        let line = logged(LogFormat::Json, Volume::Configured, say_evil_things);
        assert!(line.ends_with("}\n"));
        assert!(!line.trim_end_matches('\n').contains(char::is_control), "{line:?}");
        assert!(line.contains(r"\u009b31m") && line.contains(r"\u007f"), "{line}");
        assert!(line.contains(r#""message":"told a\nFATAL"#), "{line}");
    }

    #[test]
    fn the_command_line_decides_how_much_is_told() {
        let events = |_: &Dial| {
            tracing::error!(target: "pooler::x", "one");
            tracing::info!(target: "pooler::x", "two");
            tracing::debug!(target: "pooler::x", "three");
            tracing::trace!(target: "pooler::x", "four");
            tracing::debug!(target: "elsewhere", "five");
        };
        for (volume, lines) in
            [(Volume::Quiet, 1), (Volume::Configured, 2), (Volume::Debug, 3), (Volume::Trace, 4)]
        {
            assert_eq!(logged(LogFormat::Text, volume, events).lines().count(), lines, "{volume:?}");
        }
    }

    #[test]
    fn a_reload_changes_the_level_unless_the_command_line_has_decided() {
        let events = |dial: &Dial| {
            dial.set("error").unwrap();
            tracing::info!("quiet now");
            assert!(dial.set("pooler=loud").is_err());
            tracing::error!("still heard");
        };
        assert_eq!(logged(LogFormat::Text, Volume::Configured, events).lines().count(), 1);
        assert_eq!(logged(LogFormat::Text, Volume::Trace, events).lines().count(), 2);
    }

    #[test]
    fn a_level_that_is_none_is_refused_with_its_text() {
        let mut process = config_with(&[]).process;
        process.log_level = "pooler=loud".into();
        let refused = subscriber(&process, Volume::Configured, false, io::sink).err().map(|e| e.to_string());
        assert!(refused.is_some_and(|text| text.contains("log_level") && text.contains("pooler=loud")));
    }
}
