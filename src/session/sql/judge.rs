//! Reads a text statement by statement and notes what each may do.

use super::call::names_temp;
use super::lexer::{Kind, Lexer, Quoting, Token};
use super::name::identifier;
use super::verb::{Start, start};
use super::{Digest, Features, MAX_STATEMENTS, PreparedUse, Reading, Verb};

/// What `text` may do; `None` if nothing.
pub(super) fn judge(text: &[u8], reading: Reading) -> Option<Box<Digest>> {
    let mut judge = Judge::new(text, reading);
    let readable = reading.ascii_safe || text.is_ascii();
    if !readable {
        judge.note(Features::UNJUDGED);
    }
    while judge.place != Place::Ended {
        judge.statement();
    }
    let mut digest = judge.digest;
    if judge.names_temp && digest.settings.iter().any(|name| **name == *b"search_path") {
        digest.features |= Features::TEMP;
    }
    if digest.features.without(Features::TRANSACTION).is_empty() {
        return None;
    }
    if digest.statements != 1 || !readable {
        digest.prepared = None;
    }
    Some(Box::new(digest))
}

/// Where in the text the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a statement, or before one.
    Statement,
    /// Within BEGIN ATOMIC ... END of a statement: semicolons do not end it.
    Body,
    /// The statement has been read to its end.
    Over,
    /// The text has been read to its end.
    Ended,
}

/// The reading of one text.
pub(super) struct Judge<'t> {
    pub(super) lexer: Lexer<'t>,
    pub(super) digest: Digest,
    /// The token before the one being looked at.
    last: Token,
    /// Parentheses open in this statement.
    depth: usize,
    place: Place,
    /// Some string names the temporary schema.
    names_temp: bool,
    /// This statement may be, or hold, an UPDATE.
    pub(super) may_update: bool,
}

const NOTHING: Token = Token { kind: Kind::End, start: 0, end: 0 };

impl<'t> Judge<'t> {
    fn new(text: &'t [u8], reading: Reading) -> Self {
        Self {
            lexer: Lexer::new(text, reading),
            digest: Digest::default(),
            last: NOTHING,
            depth: 0,
            place: Place::Statement,
            names_temp: false,
            may_update: false,
        }
    }

    pub(super) fn note(&mut self, features: Features) {
        self.digest.features |= features;
    }

    /// The next token of this statement; `End` when it is over. Nothing of the text passes by unwatched.
    pub(super) fn token(&mut self) -> Token {
        if self.is_over() {
            return NOTHING;
        }
        let token = self.lexer.next();
        match token.kind {
            Kind::Mark(b'(') => self.depth += 1,
            Kind::Mark(b')') => self.depth = self.depth.saturating_sub(1),
            Kind::Mark(b';') if self.depth == 0 && self.place != Place::Body => {
                self.place = Place::Over;
                return NOTHING;
            }
            Kind::Word | Kind::Quoted => self.watch(token),
            Kind::UnicodeName | Kind::Text(Quoting::Unicode) => self.note(Features::UNJUDGED),
            Kind::Text(_) => self.names_temp |= names_temp(self.lexer.bytes(token)),
            Kind::End => self.place = Place::Ended,
            Kind::Broken => {
                self.note(Features::UNJUDGED);
                self.place = Place::Ended;
            }
            Kind::Number | Kind::Param | Kind::Mark(_) => {}
        }
        self.last = token;
        token
    }

    const fn is_over(&self) -> bool {
        matches!(self.place, Place::Over | Place::Ended)
    }

    /// What the next token will be.
    pub(super) fn peek(&self) -> Token {
        let mut ahead = self.lexer;
        if self.is_over() { NOTHING } else { ahead.next() }
    }

    /// Whether this is the keyword.
    pub(super) fn is(&self, token: Token, word: &[u8]) -> bool {
        token.kind == Kind::Word && self.lexer.bytes(token).eq_ignore_ascii_case(word)
    }

    pub(super) fn is_any(&self, token: Token, words: &[&[u8]]) -> bool {
        words.iter().any(|word| self.is(token, word))
    }

    /// Whether the statement goes on with these keywords.
    pub(super) fn follows(&self, words: &[&[u8]]) -> bool {
        let mut ahead = self.lexer;
        !self.is_over() && words.iter().all(|word| self.is(ahead.next(), word))
    }

    fn statement(&mut self) {
        (self.depth, self.place, self.last) = (0, Place::Statement, NOTHING);
        let mut head = self.token();
        if head.kind == Kind::End {
            return; // empty, or the end of all
        }
        if self.digest.statements >= MAX_STATEMENTS {
            self.note(Features::UNJUDGED);
            self.place = Place::Ended;
            return;
        }
        self.digest.statements += 1;
        head = self.within_parentheses(head);
        self.may_update = !self.is_any(head, &[b"select", b"table", b"values", b"copy", b"create"]);
        let explained = self.is(head, b"explain");
        if explained {
            head = self.explained();
        }
        if head.kind != Kind::End {
            self.read(head, explained);
        }
        while self.token().kind != Kind::End {}
    }

    fn read(&mut self, head: Token, explained: bool) {
        match start(self.lexer.bytes(head)) {
            Start::Plain => {}
            Start::Transaction => self.note(Features::TRANSACTION),
            Start::Set => self.set(),
            Start::Reset => self.reset(),
            Start::Discard => self.discard(),
            Start::Prepare => self.prepare(),
            Start::Execute => self.execute(if explained { Verb::ExplainExecute } else { Verb::Execute }),
            Start::Deallocate => self.deallocate(),
            Start::Declare => self.declare(),
            Start::Close => self.note(Features::CLOSE),
            Start::Listen => self.note(Features::LISTEN),
            Start::Unlisten => self.unlisten(),
            Start::Notify => self.note(Features::NOTIFY),
            Start::Create => self.create(),
            Start::Load => self.note(Features::LOAD),
            Start::Drop => self.note(Features::DROP),
            Start::Opaque => self.note(Features::OPAQUE),
            Start::Explain | Start::Unknown => self.note(Features::UNJUDGED),
        }
    }

    fn within_parentheses(&mut self, head: Token) -> Token {
        let mut head = head;
        while head.kind == Kind::Mark(b'(') {
            head = self.token();
        }
        head
    }

    /// The first word of what EXPLAIN explains.
    fn explained(&mut self) -> Token {
        let mut head = self.token();
        if head.kind == Kind::Mark(b'(') {
            // Options, unless a query begins here.
            let outer = self.depth - 1;
            head = self.within_parentheses(head);
            if start(self.lexer.bytes(head)) == Start::Plain && !self.is_any(head, &[b"analyze", b"analyse"])
            {
                return head;
            }
            while self.depth > outer && head.kind != Kind::End {
                head = self.token();
            }
            head = self.token();
        }
        while self.is_any(head, &[b"analyze", b"analyse", b"verbose"]) {
            head = self.token();
        }
        self.within_parentheses(head)
    }

    fn discard(&mut self) {
        let what = self.token();
        self.note(if self.is(what, b"all") {
            Features::DISCARD_ALL
        } else if self.is_any(what, &[b"temp", b"temporary"]) {
            Features::DISCARD_TEMP
        } else {
            Features::DISCARD_OTHER
        });
    }

    /// A name that cannot be told is not noted: the channel is listened to on.
    fn unlisten(&mut self) {
        self.note(Features::UNLISTEN);
        let token = self.token();
        if token.kind == Kind::Mark(b'*') {
            self.digest.unlistened.push(None);
        } else if let Some(name) = identifier(&self.lexer, token) {
            self.digest.unlistened.push(Some(name.into()));
        }
    }

    fn prepare(&mut self) {
        let name = self.token();
        if self.is(name, b"transaction") && matches!(self.peek().kind, Kind::Text(_)) {
            return self.note(Features::TRANSACTION);
        }
        self.note(Features::PREPARE);
        self.speaks_of(Verb::Prepare, name);
    }

    fn execute(&mut self, verb: Verb) {
        self.note(Features::EXECUTE);
        let name = self.token();
        self.speaks_of(verb, name);
    }

    fn deallocate(&mut self) {
        let mut name = self.token();
        if self.is(name, b"prepare") && !matches!(self.peek().kind, Kind::End | Kind::Mark(b';')) {
            name = self.token();
        }
        if self.is(name, b"all") {
            return self.note(Features::DEALLOCATE_ALL);
        }
        self.note(Features::DEALLOCATE);
        self.speaks_of(Verb::Deallocate, name);
    }

    fn speaks_of(&mut self, verb: Verb, token: Token) {
        let Some(name) = identifier(&self.lexer, token) else { return self.note(Features::UNJUDGED) };
        let name = name.into_boxed_slice();
        self.digest.prepared = Some(PreparedUse { verb, name, span: token.start..token.end });
    }

    fn declare(&mut self) {
        self.token();
        loop {
            let token = self.token();
            if token.kind == Kind::End {
                return;
            }
            if self.is(token, b"cursor") {
                break;
            }
        }
        if self.follows(&[b"with", b"hold"]) {
            self.note(Features::DECLARE_HOLD);
        }
    }

    fn create(&mut self) {
        let mut head = self.token();
        while self.is_any(head, &[b"or", b"replace", b"local", b"global"]) {
            head = self.token();
        }
        if self.is_any(head, &[b"temp", b"temporary"]) {
            self.note(Features::TEMP);
        }
        let routine = self.is_any(head, &[b"function", b"procedure"]);
        let mut before = head;
        loop {
            let token = self.token();
            if token.kind == Kind::End {
                return;
            }
            if token.kind == Kind::Word {
                self.create_word(before, token, routine);
            }
            before = token;
        }
    }

    /// The body of a routine begins with BEGIN ATOMIC. It ends with the END that stands where a statement of the
    /// body would begin: the END of a CASE cannot stand there.
    fn create_word(&mut self, before: Token, token: Token, routine: bool) {
        if self.is(before, b"as") && self.is(token, b"execute") {
            self.note(Features::EXECUTE);
        }
        if !routine || self.depth > 0 {
            return;
        }
        if self.place == Place::Body {
            let begins = before.kind == Kind::Mark(b';') || self.is(before, b"atomic");
            if begins && self.is(token, b"end") {
                self.place = Place::Statement;
            }
        } else if self.is(before, b"begin") && self.is(token, b"atomic") {
            self.place = Place::Body;
        }
    }

    /// Whether the token before makes INTO name an existing table, not a new one.
    pub(super) fn after_insert(&self) -> bool {
        self.is_any(self.last, &[b"insert", b"merge"])
    }
}
