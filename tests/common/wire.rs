//! Messages of the protocol as tests write and read them: builders for what a client says, and a compact text for
//! what a server answers. Written apart from the product's own encoder on purpose: it must not share its errors.

use std::fmt::Write;

/// One message from a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type byte.
    pub tag: u8,
    /// What follows the length word.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.full())
    }
}

impl Message {
    /// The shape: `1`, `D`, `C`, `Z(I)`, `E(26000)`.
    pub fn brief(&self) -> String {
        let tag = char::from(self.tag);
        match self.tag {
            b'Z' => format!("Z({})", text(&self.body)),
            b'E' => format!("E({})", self.field(b'C')),
            _ => tag.to_string(),
        }
    }

    /// Shape and content, with what differs from run to run left out (key data, source lines).
    pub fn full(&self) -> String {
        let tag = char::from(self.tag);
        match self.tag {
            b'E' | b'N' => {
                format!("{tag}({} {}: {})", self.field(b'S'), self.field(b'C'), self.field(b'M'))
            }
            b'D' => {
                let values: Vec<String> = self
                    .row()
                    .into_iter()
                    .map(|v| v.map_or_else(|| "NULL".to_owned(), |v| text(&v)))
                    .collect();
                format!("D({})", values.join(","))
            }
            b'T' => format!("T({})", self.columns().join(",")),
            b'C' => format!("C({})", text(strip_nul(&self.body))),
            b'S' => format!("S({})", text(strip_nul(&self.body)).replace('\0', "=")),
            b'A' => format!("A({})", text(self.body.get(4..).unwrap_or_default()).replace('\0', " ")),
            b'K' => "K".to_owned(),
            b'1' | b'2' | b'3' | b'n' | b's' | b'I' | b'c' => tag.to_string(),
            b'Z' | b'd' => format!("{tag}({})", text(&self.body)),
            _ => format!("{tag}({})", hex(&self.body)),
        }
    }

    /// A field of an error or a notice; empty if it is not there.
    pub fn field(&self, code: u8) -> String {
        self.body
            .split(|&b| b == 0)
            .find(|part| part.first() == Some(&code))
            .map_or_else(String::new, |part| text(part.get(1..).unwrap_or_default()))
    }

    /// SQLSTATE of an error, `None` for any other message.
    pub fn sqlstate(&self) -> Option<String> {
        (self.tag == b'E').then(|| self.field(b'C'))
    }

    /// Values of a data row.
    pub fn row(&self) -> Vec<Option<Vec<u8>>> {
        let mut values = Vec::new();
        let mut rest = self.body.get(2..).unwrap_or_default();
        while let Some((head, tail)) = rest.split_at_checked(4) {
            match usize::try_from(i32::from_be_bytes(head.try_into().unwrap())) {
                Ok(len) if len <= tail.len() => {
                    values.push(Some(tail[..len].to_vec()));
                    rest = &tail[len..];
                }
                _ => {
                    values.push(None);
                    rest = tail;
                }
            }
        }
        values
    }

    /// First value of a data row as text; empty for NULL and for other messages.
    pub fn first(&self) -> String {
        if self.tag != b'D' {
            return String::new();
        }
        self.row().into_iter().next().flatten().map_or_else(String::new, |v| text(&v))
    }

    /// Names of the columns of a row description, each with its type.
    pub fn columns(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut rest = self.body.get(2..).unwrap_or_default();
        while let Some(end) = rest.iter().position(|&b| b == 0) {
            let Some(info) = rest.get(end + 1..end + 19) else { break };
            let oid = u32::from_be_bytes(info[6..10].try_into().unwrap());
            names.push(format!("{}:{oid}", text(&rest[..end])));
            rest = &rest[end + 19..];
        }
        names
    }
}

/// Messages in compact form, separated by blanks.
pub fn brief(messages: &[Message]) -> String {
    messages.iter().map(Message::brief).collect::<Vec<_>>().join(" ")
}

/// Cuts one whole message off the front of what was received.
pub fn cut_message(received: &mut Vec<u8>) -> Option<Message> {
    let len = u32::from_be_bytes(received.get(1..5)?.try_into().unwrap()) as usize;
    assert!(len >= 4, "a length of {len} came from the server: {}", hex(received));
    if received.len() < len + 1 {
        return None;
    }
    let rest = received.split_off(len + 1);
    let message = Message { tag: received[0], body: received[5..].to_vec() };
    *received = rest;
    Some(message)
}

/// Bytes as hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut all, b| {
        let _ = write!(all, "{b:02x}");
        all
    })
}

/// Hexadecimal, blanks allowed, as bytes.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn strip_nul(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(&[0]).unwrap_or(bytes)
}

/// What a client may say.
pub mod msg {
    /// Any message: type byte, length word, body.
    pub fn any(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        out.extend(body);
        out
    }

    fn cstr(text: &str) -> Vec<u8> {
        [text.as_bytes(), &[0]].concat()
    }

    fn count(n: usize) -> [u8; 2] {
        u16::try_from(n).unwrap().to_be_bytes()
    }

    /// Query.
    pub fn query(sql: &str) -> Vec<u8> {
        any(b'Q', &cstr(sql))
    }

    /// Parse with types left to the server.
    pub fn parse(name: &str, sql: &str) -> Vec<u8> {
        any(b'P', &[cstr(name), cstr(sql), vec![0, 0]].concat())
    }

    /// Bind of text parameters, text results.
    pub fn bind(portal: &str, statement: &str, values: &[Option<&str>]) -> Vec<u8> {
        let mut body = [cstr(portal), cstr(statement), vec![0, 0]].concat();
        body.extend(count(values.len()));
        for value in values {
            match value {
                Some(v) => {
                    body.extend(u32::try_from(v.len()).unwrap().to_be_bytes());
                    body.extend(v.as_bytes());
                }
                None => body.extend((-1_i32).to_be_bytes()),
            }
        }
        body.extend([0, 0]);
        any(b'B', &body)
    }

    /// Describe of a statement (`S`) or a portal (`P`).
    pub fn describe(kind: u8, name: &str) -> Vec<u8> {
        any(b'D', &[vec![kind], cstr(name)].concat())
    }

    /// Close of a statement (`S`) or a portal (`P`).
    pub fn close(kind: u8, name: &str) -> Vec<u8> {
        any(b'C', &[vec![kind], cstr(name)].concat())
    }

    /// Execute of at most `rows` rows; 0 for all.
    pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
        any(b'E', &[cstr(portal), rows.to_be_bytes().to_vec()].concat())
    }

    /// Sync.
    pub fn sync() -> Vec<u8> {
        any(b'S', &[])
    }

    /// Flush.
    pub fn flush() -> Vec<u8> {
        any(b'H', &[])
    }

    /// Terminate.
    pub fn terminate() -> Vec<u8> {
        any(b'X', &[])
    }

    /// CopyData.
    pub fn copy_data(data: &str) -> Vec<u8> {
        any(b'd', data.as_bytes())
    }

    /// CopyDone.
    pub fn copy_done() -> Vec<u8> {
        any(b'c', &[])
    }

    /// CopyFail.
    pub fn copy_fail(reason: &str) -> Vec<u8> {
        any(b'f', &cstr(reason))
    }

    /// Parse (unnamed), Bind, Execute, without a Sync.
    pub fn run(sql: &str, values: &[Option<&str>]) -> Vec<u8> {
        [parse("", sql), bind("", "", values), execute("", 0)].concat()
    }

    /// FunctionCall with text arguments and a text result.
    pub fn function_call(oid: u32, values: &[&str]) -> Vec<u8> {
        let mut body = [oid.to_be_bytes().to_vec(), vec![0, 0]].concat();
        body.extend(count(values.len()));
        for v in values {
            body.extend(u32::try_from(v.len()).unwrap().to_be_bytes());
            body.extend(v.as_bytes());
        }
        body.extend([0, 0]);
        any(b'F', &body)
    }

    /// A password or SASL answer that ends in NUL.
    pub fn password(secret: &str) -> Vec<u8> {
        any(b'p', &cstr(secret))
    }

    /// A packet without a type byte: a length, a code, a body.
    pub fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(body.len() + 8).unwrap();
        [len.to_be_bytes().as_slice(), &code.to_be_bytes(), body].concat()
    }

    /// Startup packet of a protocol version (`0x0003_0000` is 3.0) with name and value pairs.
    pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in parameters {
            body.extend(cstr(name));
            body.extend(cstr(value));
        }
        body.push(0);
        packet(version, &body)
    }

    /// SSLRequest.
    pub fn ssl_request() -> Vec<u8> {
        packet(80_877_103, &[])
    }

    /// GSSENCRequest.
    pub fn gss_request() -> Vec<u8> {
        packet(80_877_104, &[])
    }

    /// CancelRequest.
    pub fn cancel(key: &[u8]) -> Vec<u8> {
        packet(80_877_102, key)
    }
}
