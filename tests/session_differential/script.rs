//! Scripts as data: what clients say one after the other, and which of it a pool of some size can serve.

use crate::common::msg;

/// One message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    Query(String),
    Parse(&'static str, String),
    /// Portal, statement, value of its parameter if it has one.
    Bind(&'static str, &'static str, Option<&'static str>),
    DescribeStatement(&'static str),
    DescribePortal(&'static str),
    /// Portal, rows at most.
    Execute(&'static str, u32),
    CloseStatement(&'static str),
    ClosePortal(&'static str),
    CopyData(&'static str),
    CopyDone,
    CopyFail,
    Flush,
    Sync,
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    Terminate,
    Close,
    Reset,
}

/// One step. All its replies are read before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A login with these startup parameters; whoever has that place leaves before.
    Enter(usize, Vec<(&'static str, &'static str)>),
    /// Messages that end with a Query or a Sync.
    Say(usize, Vec<Say>),
    /// Messages up to one Execute, a Flush, their replies, and then a Sync.
    Flushed(usize, Vec<Say>),
    /// The client tells its own channel something, and what it has heard since it was asked last, in order.
    Hear(usize),
    /// The client goes.
    Leave(usize, Leave),
}

impl Step {
    /// Whose step it is.
    pub const fn who(&self) -> usize {
        match self {
            Self::Enter(who, _)
            | Self::Say(who, _)
            | Self::Flushed(who, _)
            | Self::Hear(who)
            | Self::Leave(who, _) => *who,
        }
    }

    fn says(&self) -> &[Say] {
        match self {
            Self::Say(_, says) | Self::Flushed(_, says) => says,
            Self::Enter(..) | Self::Hear(_) | Self::Leave(..) => &[],
        }
    }

    /// Whether some text of it has this in it.
    pub fn mentions(&self, word: &str) -> bool {
        self.says().iter().any(|say| say.text().contains(word))
    }
}

impl Say {
    /// As it goes over the wire; `key` stands for advisory locks of this performance, `who` is also in names of tables.
    pub fn bytes(&self, key: u64, who: usize) -> Vec<u8> {
        let own = |sql: &str| {
            sql.replace("$KEY", &(key * 10 + who as u64).to_string()).replace("$WHO", &who.to_string())
        };
        match self {
            Self::Query(sql) => msg::query(&own(sql)),
            Self::Parse(name, sql) => msg::parse(name, &own(sql)),
            Self::Bind(portal, name, value) => {
                msg::bind(portal, name, &value.iter().map(|v| Some(*v)).collect::<Vec<_>>())
            }
            Self::DescribeStatement(name) => msg::describe(b'S', name),
            Self::DescribePortal(name) => msg::describe(b'P', name),
            Self::Execute(portal, rows) => msg::execute(portal, *rows),
            Self::CloseStatement(name) => msg::close(b'S', name),
            Self::ClosePortal(name) => msg::close(b'P', name),
            Self::CopyData(data) => msg::copy_data(data),
            Self::CopyDone => msg::copy_done(),
            Self::CopyFail => msg::copy_fail("no more"),
            Self::Flush => msg::flush(),
            Self::Sync => msg::sync(),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Query(sql) | Self::Parse(_, sql) => sql,
            Self::Bind(..)
            | Self::DescribeStatement(_)
            | Self::DescribePortal(_)
            | Self::Execute(..)
            | Self::CloseStatement(_)
            | Self::ClosePortal(_)
            | Self::CopyData(_)
            | Self::CopyDone
            | Self::CopyFail
            | Self::Flush
            | Self::Sync => "",
        }
    }
}

/// Words of statements after which a client may need its server until it leaves.
const PINS: [&str; 9] =
    ["temp ", "with hold", "prepare ", "pg_advisory_lock", "do $$", "load", "f_temp", "f_lock", "f_hold"];

/// Whether some step might wait for a server that no other client gives back: told carefully, from words alone.
pub fn starves(steps: &[Step], pool: usize) -> bool {
    let mut pinned = [false; 16];
    let mut in_block = [false; 16];
    // Channels keep the server where its encoding is not the client's.
    let mut encodes = [false; 16];
    for step in steps {
        let who = step.who();
        if matches!(step, Step::Enter(..) | Step::Leave(..)) {
            (pinned[who], in_block[who]) = (false, false);
            encodes[who] = matches!(step, Step::Enter(_, with) if with.iter().any(|(name, _)| *name == "client_encoding"));
            if matches!(step, Step::Leave(..)) {
                continue;
            }
        }
        let others = (0..16).filter(|&c| c != who && (pinned[c] || in_block[c])).count();
        if others >= pool {
            return true;
        }
        let says = step.says();
        pinned[who] |= PINS.iter().any(|word| step.mentions(word)) || encodes[who] && step.mentions("listen");
        if let [Say::Query(sql)] = says
            && matches!(sql.as_str(), "commit" | "rollback" | "end" | "abort")
        {
            in_block[who] = false;
        } else {
            // A statement that begins a block may have been prepared long ago.
            let begins = |say: &Say| say.text().contains("begin") || say.text().contains("chain");
            in_block[who] |= says.iter().any(begins)
                || says.iter().any(|say| matches!(say, Say::Bind(..))) && steps.iter().any(prepares_begin);
        }
    }
    false
}

/// Whether each COPY FROM STDIN has its end: without it PostgreSQL ends the session, see
/// [`super::exceptions::NOT_DRAWN`].
pub fn ends_copies(steps: &[Step]) -> bool {
    steps.iter().all(|step| {
        let says = step.says();
        let begun = says.iter().filter(|say| say.text().contains("from stdin")).count();
        begun == says.iter().filter(|say| matches!(say, Say::CopyDone | Say::CopyFail)).count()
    })
}

fn prepares_begin(step: &Step) -> bool {
    step.says().iter().any(|say| matches!(say, Say::Parse(_, sql) if sql.contains("begin")))
}

/// Shows a script so that it can be read, and typed into a test.
pub fn shown(steps: &[Step]) -> String {
    let line = |(i, step)| format!("    {i:2} {step:?}\n").replace(super::play::PROBE, "PROBE");
    steps.iter().enumerate().map(line).collect()
}
