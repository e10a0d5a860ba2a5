//! Bad requests, of any bytes at all, and what must be answered to each.

use super::{PATIENCE, World};
use earnest_builder_types::{BlsPublicKey, BlsSignature};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) const JSON: &str = "application/json";
pub(crate) const SSZ: &str = "application/octet-stream";

/// A request on a connection of its own.
#[derive(Clone)]
pub(crate) struct Ask {
    method: &'static str,
    path: Vec<u8>,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Option<Vec<u8>>,
    framed: bool,
}

impl Ask {
    pub(crate) fn get(path: impl Into<Vec<u8>>) -> Self {
        Self { method: "GET", path: path.into(), headers: vec![], body: None, framed: true }
    }

    pub(crate) fn post(path: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST", body: Some(vec![]), ..Self::get(path) }
    }

    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// What comes after the head is as the test wrote it, and so are the headers that frame it.
    pub(crate) fn unframed(mut self) -> Self {
        self.framed = false;
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", JSON).body(body.to_string())
    }

    pub(crate) fn ssz(self, body: impl Into<Vec<u8>>) -> Self {
        self.header("content-type", SSZ).body(body)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.method.as_bytes(), b" ", &self.path, b" HTTP/1.1\r\nhost: relay\r\n"].concat();
        let mut line = |name: &str, value: &[u8]| {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        };
        line("connection", b"close");
        for (name, value) in &self.headers {
            line(name, value);
        }
        let body = self.body.as_deref();
        if let Some(body) = body.filter(|_| self.framed) {
            line("content-length", body.len().to_string().as_bytes());
        }
        [bytes.as_slice(), b"\r\n", body.unwrap_or_default()].concat()
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {text:?}"));
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status: {head}")),
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Code and message of a refusal, whose body is `{code, message}`: the code is the status, or a name. What the
    /// answer is instead, if it is none.
    pub(crate) fn refusal(&self) -> Result<(String, String), String> {
        let shown = || format!("{} {}", self.status, String::from_utf8_lossy(&self.body));
        let body: Value = serde_json::from_slice(&self.body).map_err(|_| shown())?;
        let code = match &body["code"] {
            Value::Number(number) if number.as_u64() == Some(self.status.into()) => number.to_string(),
            Value::String(name) if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                name.clone()
            }
            _ => return Err(shown()),
        };
        let message = body["message"].as_str().ok_or_else(shown)?.to_owned();
        let whole = self.header("content-type") == Some(JSON) && message.split(' ').count() > 1;
        if whole { Ok((code, message)) } else { Err(shown()) }
    }
}

impl World {
    /// Sends a request and reads the answer to its end. Who answers before the request is whole is heard too.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        let asked = async {
            let mut stream = TcpStream::connect(self.relay.local_addr).await.unwrap();
            let (mut reading, mut writing) = stream.split();
            let mut answer = Vec::new();
            let bytes = ask.bytes();
            let write = async {
                // The relay may have heard enough.
                let _ = writing.write_all(&bytes).await;
            };
            let (_, read) = tokio::join!(write, reading.read_to_end(&mut answer));
            if answer.is_empty() {
                read.unwrap();
            }
            Answer::read(&answer)
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap()
    }
}

/// One bad request: what it is, and what the relay says to it.
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) ask: Ask,
    pub(crate) status: u16,
    /// The code, if it is a name.
    pub(crate) code: Option<&'static str>,
    /// What the message holds.
    pub(crate) says: String,
}

/// Bad requests of one kind.
#[derive(Default)]
pub(crate) struct Table(Vec<Case>);

impl Table {
    pub(crate) fn add(&mut self, what: impl Into<String>, ask: Ask, status: u16, says: impl Into<String>) {
        self.0.push(Case { what: what.into(), ask, status, code: None, says: says.into() });
    }

    pub(crate) fn named(
        &mut self,
        what: impl Into<String>,
        ask: Ask,
        (status, code): (u16, &'static str),
        says: impl Into<String>,
    ) {
        self.0.push(Case { what: what.into(), ask, status, code: Some(code), says: says.into() });
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Asks everything, one after the other, and shows every answer that is not as it should be.
    pub(crate) async fn run(self, world: &World, name: &str) {
        let mut wrong = Vec::new();
        for case in &self.0 {
            let Case { what, ask, status, code, says } = case;
            let answer = world.ask(ask).await;
            let told = answer.refusal();
            let expected = code.map_or_else(|| status.to_string(), str::to_owned);
            let right = |(code, message): &(String, String)| *code == expected && message.contains(says);
            if answer.status != *status || !told.as_ref().is_ok_and(right) {
                wrong.push(format!("{what}: {} {told:?}, not {status} {expected} {says:?}", answer.status));
            }
        }
        assert!(wrong.is_empty(), "{name}: {} of {}:\n{}", wrong.len(), self.0.len(), wrong.join("\n"));
        println!("{name}: {} cases", self.0.len());
    }
}

/// Keys that are none: infinity, off the subgroup (x = 4 is on the curve), off the curve, nothing.
pub(crate) fn no_keys() -> [(&'static str, BlsPublicKey); 4] {
    let mut key = BlsPublicKey::ZERO;
    key[0] = 0xc0;
    let infinity = key;
    key[0] = 0x80;
    key[47] = 4;
    let off_subgroup = key;
    key[47] = 1;
    [
        ("infinity", infinity),
        ("off the subgroup", off_subgroup),
        ("off the curve", key),
        ("zero", BlsPublicKey::ZERO),
    ]
}

/// Signatures that are none.
pub(crate) fn no_signatures() -> [(&'static str, BlsSignature); 4] {
    let mut signature = BlsSignature::ZERO;
    signature[0] = 0xc0;
    let infinity = signature;
    signature[0] = 0x80;
    signature[95] = 2;
    let off_subgroup = signature;
    signature[95] = 1;
    [
        ("infinity", infinity),
        ("off the subgroup", off_subgroup),
        ("off the curve", signature),
        ("zero", BlsSignature::ZERO),
    ]
}

/// The same with another value at a place.
pub(crate) fn with(body: &Value, place: &str, value: impl Into<Value>) -> Value {
    let mut body = body.clone();
    let (within, last) = place.rsplit_once('/').unwrap();
    match body.pointer_mut(within).unwrap() {
        Value::Object(fields) => drop(fields.insert(last.to_owned(), value.into())),
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value.into(),
        other => panic!("{place} is in {other}"),
    }
    body
}

pub(crate) fn without(body: &Value, place: &str) -> Value {
    let mut body = body.clone();
    let (within, last) = place.rsplit_once('/').unwrap();
    body.pointer_mut(within).unwrap().as_object_mut().unwrap().remove(last).unwrap();
    body
}

/// Ways to write an integer of 64 bits that the Ethereum APIs do not have, and what is none.
pub(crate) fn no_integers(right: u64) -> Vec<Value> {
    let mut values: Vec<Value> = [
        format!("+{right}"),
        format!("-{right}"),
        format!(" {right}"),
        format!("{right} "),
        format!("{right}.0"),
        format!("{right}e0"),
        format!("0x{right:x}"),
        format!("{right}_"),
        String::new(),
        "\u{661}".to_owned(),
        "18446744073709551616".to_owned(),
        "9".repeat(100),
    ]
    .map(Value::from)
    .into();
    values.extend([json!(right), Value::Null, json!(true), json!([]), json!({}), json!(1.5), json!(-1)]);
    values
}

/// Cuts a body in many places.
pub(crate) fn cuts(body: &[u8]) -> Vec<usize> {
    let step = (body.len() / 40).max(1);
    (0..body.len()).step_by(step).chain([body.len() - 1]).collect()
}

/// Everything that JSON can lack: fields missing, one too many, bad integers, bad hexadecimal.
pub(crate) fn json_table(
    table: &mut Table,
    path: &str,
    body: &Value,
    fields: &[&str],
    integers: &[&str],
    says: &str,
) {
    for field in fields {
        let missing = Ask::post(path).json(&without(body, field));
        table.add(
            format!("without {field}"),
            missing,
            400,
            format!("missing field `{}`", field.rsplit_once('/').unwrap().1),
        );
        for value in [Value::Null, json!([]), json!({}), json!("0x")] {
            let what = format!("{field} = {value}");
            table.add(what, Ask::post(path).json(&with(body, field, value)), 400, says);
        }
    }
    for field in integers {
        let right = body.pointer(field).and_then(Value::as_str).unwrap().parse().unwrap();
        for value in no_integers(right) {
            let what = format!("{field} = {value}");
            table.add(what, Ask::post(path).json(&with(body, field, value)), 400, says);
        }
    }
    let text = body.to_string();
    for cut in cuts(text.as_bytes()) {
        let ask = Ask::post(path).header("content-type", JSON).body(&text.as_bytes()[..cut]);
        table.add(format!("JSON that ends after {cut} bytes"), ask, 400, "");
    }
    let twice = format!("{text}{text}");
    table.add(
        "two bodies in one",
        Ask::post(path).header("content-type", JSON).body(twice),
        400,
        "trailing characters",
    );
}
