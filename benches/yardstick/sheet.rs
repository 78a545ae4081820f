//! One table of results: all samples of all contenders, as Markdown for people and as JSON for machines.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::machine;
use crate::measure::Unit;
use crate::options::Options;

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Units per second.
    Rate(Unit),
    /// CPU time of the pooler per unit, in microseconds.
    Cpu(Unit),
    /// Median latency in microseconds.
    P50,
    /// 99th percentile in microseconds.
    P99,
    /// Instructions of user space and kernel.
    Instructions(Unit),
    /// Instructions of user space, by the processor.
    UserInstructions(Unit),
    /// Instructions of user space, by valgrind.
    ValgrindInstructions(Unit),
    /// Calls of the allocator, by valgrind.
    Allocations(Unit),
    /// System calls.
    SystemCalls(Unit),
    /// Bytes of memory per client.
    BytesPerClient,
    /// Kilobytes of memory.
    Kilobytes,
}

impl Figure {
    fn name(self) -> String {
        let per = |unit| match unit {
            Unit::Transaction => "transaction",
            Unit::Connection => "connection",
            Unit::Kilobyte => "kB",
        };
        match self {
            Self::Rate(Unit::Kilobyte) => "kB per second".to_owned(),
            Self::Rate(unit) => format!("{}s per second", per(unit)),
            Self::Cpu(Unit::Kilobyte) => "CPU us per kB (= s/GB)".to_owned(),
            Self::Cpu(unit) => format!("CPU us per {}", per(unit)),
            Self::P50 => "p50, us".to_owned(),
            Self::P99 => "p99, us".to_owned(),
            Self::Instructions(unit) => format!("instructions per {}", per(unit)),
            Self::UserInstructions(unit) => format!("user instructions per {}", per(unit)),
            Self::ValgrindInstructions(unit) => format!("user instructions per {} (callgrind)", per(unit)),
            Self::Allocations(unit) => format!("allocations per {} (callgrind)", per(unit)),
            Self::SystemCalls(unit) => format!("system calls per {}", per(unit)),
            Self::BytesPerClient => "bytes per client".to_owned(),
            Self::Kilobytes => "kB".to_owned(),
        }
    }
}

struct Line {
    point: String,
    figure: Figure,
    samples: Vec<(String, Vec<f64>)>,
}

/// See the module.
pub(crate) struct Sheet {
    name: &'static str,
    notes: Vec<String>,
    contenders: Vec<String>,
    ratios: Vec<(String, String)>,
    lines: Vec<Line>,
}

impl Sheet {
    /// An empty one. Ratios are Pooler's to PgBouncer's.
    pub(crate) fn new(name: &'static str, note: &str) -> Self {
        let notes = vec![note.to_owned()];
        let ratios = vec![("Pooler".to_owned(), "PgBouncer".to_owned())];
        Self { name, notes, contenders: Vec::new(), ratios, lines: Vec::new() }
    }

    /// Says something more above the table.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// A further ratio.
    pub(crate) fn ratio(&mut self, of: &str, to: &str) {
        self.ratios.push((of.to_owned(), to.to_owned()));
    }

    /// Enters a sample.
    pub(crate) fn add(&mut self, point: &str, figure: Figure, contender: &str, value: f64) {
        if !self.contenders.iter().any(|name| name == contender) {
            self.contenders.push(contender.to_owned());
        }
        let found = self.lines.iter().position(|line| line.point == point && line.figure == figure);
        let at = found.unwrap_or_else(|| {
            self.lines.push(Line { point: point.to_owned(), figure, samples: Vec::new() });
            self.lines.len() - 1
        });
        let samples = &mut self.lines[at].samples;
        match samples.iter_mut().find(|(name, _)| name == contender) {
            Some((_, values)) => values.push(value),
            None => samples.push((contender.to_owned(), vec![value])),
        }
    }

    /// The table: medians, with the spread where there is more than one sample, and ratios of medians.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("\n## {}\n\n{}\n\n| point | figure |", self.name, self.notes.join("\n"));
        for name in &self.contenders {
            let _ = write!(text, " {name} |");
        }
        for (of, to) in &self.ratios {
            let _ = write!(text, " {of} / {to} |");
        }
        text.push_str("\n|---|---|");
        text.push_str(&"--:|".repeat(self.contenders.len() + self.ratios.len()));
        for line in &self.lines {
            let _ = write!(text, "\n| {} | {} |", line.point, line.figure.name());
            for name in &self.contenders {
                let _ = write!(text, " {} |", line.samples_of(name).map_or_else(|| "n/a".to_owned(), spread));
            }
            for (of, to) in &self.ratios {
                let ratio = line.ratio(of, to).map_or_else(|| "n/a".to_owned(), |r| format!("**{r:.2}**"));
                let _ = write!(text, " {ratio} |");
            }
        }
        text.push('\n');
        text.push_str(&self.means());
        text
    }

    /// Geometric means of the ratios of each figure that has several points.
    fn means(&self) -> String {
        let mut text = String::new();
        let mut done: Vec<Figure> = Vec::new();
        for figure in self.lines.iter().map(|line| line.figure) {
            if done.contains(&figure) {
                continue;
            }
            done.push(figure);
            for (of, to) in &self.ratios {
                let lines = self.lines.iter().filter(|line| line.figure == figure);
                let logs: Vec<f64> = lines.filter_map(|line| line.ratio(of, to)).map(f64::ln).collect();
                if logs.len() > 1 {
                    let mean = mean(&logs).exp();
                    let _ = write!(text, "\n- {}, {of} / {to}, geometric mean: **{mean:.2}**", figure.name());
                }
            }
        }
        if text.is_empty() { text } else { text + "\n" }
    }

    fn json(&self) -> serde_json::Value {
        let lines = self.lines.iter().map(|line| {
            let samples: serde_json::Map<String, serde_json::Value> =
                line.samples.iter().map(|(name, values)| (name.clone(), values.clone().into())).collect();
            serde_json::json!({ "point": line.point, "figure": line.figure.name(), "samples": samples })
        });
        let lines: Vec<serde_json::Value> = lines.collect();
        serde_json::json!({ "table": self.name, "notes": self.notes, "lines": lines })
    }
}

impl Line {
    fn samples_of(&self, contender: &str) -> Option<&[f64]> {
        self.samples.iter().find(|(name, _)| name == contender).map(|(_, values)| values.as_slice())
    }

    fn ratio(&self, of: &str, to: &str) -> Option<f64> {
        let ratio = median(self.samples_of(of)?) / median(self.samples_of(to)?);
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    }
}

#[allow(clippy::cast_precision_loss)]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn spread(values: &[f64]) -> String {
    let middle = number(median(values));
    if values.len() == 1 {
        return middle;
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{middle} ({}..{})", number(least), number(most))
}

/// Three digits or all of the whole ones.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The file of this run, below target/bench.
pub(crate) fn new_file() -> PathBuf {
    let stamp = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    Options::results().join(format!("bench-{stamp}.json"))
}

/// Writes all samples so far.
pub(crate) fn write_json(options: &Options, sheets: &[Sheet], file: &Path) {
    let tables: Vec<serde_json::Value> = sheets.iter().map(Sheet::json).collect();
    let all = serde_json::json!({ "machine": machine::describe(options), "tables": tables });
    std::fs::write(file, format!("{all:#}\n")).unwrap();
}
