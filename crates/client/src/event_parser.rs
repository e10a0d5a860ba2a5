//! Server-sent events out of bytes, as the HTML specification has them (§9.2.6). Pure.
//!
//! Each byte is looked at once, however an event is cut into chunks, and an event's size is bounded: a microblock of many
//! megabytes is one event, and a server may send what it likes.

use std::collections::VecDeque;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The id that a stream resumes after; the last one given, if this event has none of its own.
    pub(crate) id: String,
    /// Its name, `message` if it has none.
    pub(crate) name: String,
    /// Its data, lines joined by line feeds.
    pub(crate) data: String,
}

/// Why no more events can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    /// An event has more bytes than allowed.
    #[error("event too large")]
    TooLarge,
    /// A line is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
}

/// Reads one stream.
#[derive(Debug)]
pub(crate) struct EventParser {
    limit: usize,
    /// Bytes since the last blank line.
    size: usize,
    line: Vec<u8>,
    /// The last line ended with CR; a LF that follows belongs to it.
    after_cr: bool,
    at_start: bool,
    id: String,
    name: String,
    data: Option<String>,
    ready: VecDeque<SseEvent>,
}

impl EventParser {
    /// A parser of events of at most `limit` bytes each, field names and comments included.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            size: 0,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            id: String::new(),
            name: String::new(),
            data: None,
            ready: VecDeque::new(),
        }
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// [`SseError`]; the stream cannot be read on then.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<(), SseError> {
        let mut rest = chunk;
        loop {
            if self.after_cr && !rest.is_empty() {
                self.after_cr = false;
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            let Some((line, ending, after)) = split_line(rest) else { break };
            self.grow(line)?;
            self.after_cr = ending == b'\r';
            self.end_line()?;
            rest = after;
        }
        self.grow(rest)
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    fn grow(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        self.size = self.size.saturating_add(bytes.len()).saturating_add(1);
        if self.size > self.limit {
            return Err(SseError::TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), SseError> {
        let bytes = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&bytes).map_err(|_| SseError::NotUtf8)?;
        let line =
            if std::mem::take(&mut self.at_start) { line.trim_start_matches('\u{feff}') } else { line };
        if line.is_empty() {
            self.dispatch();
        } else {
            self.field(line);
        }
        Ok(())
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        self.size = 0;
        let name = std::mem::take(&mut self.name);
        let Some(data) = self.data.take().filter(|data| !data.is_empty()) else { return };
        let name = if name.is_empty() { "message".to_owned() } else { name };
        self.ready.push_back(SseEvent { id: self.id.clone(), name, data });
    }
}

/// The first line of `bytes` without its ending, the byte that ends it, and what follows.
fn split_line(bytes: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
    let (line, rest) = bytes.split_at_checked(end)?;
    let (ending, after) = rest.split_first()?;
    Some((line, *ending, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]], limit: usize) -> Result<Vec<SseEvent>, SseError> {
        let mut parser = EventParser::new(limit);
        let mut events = Vec::new();
        for chunk in chunks {
            parser.push(chunk)?;
            events.extend(std::iter::from_fn(|| parser.next()));
        }
        Ok(events)
    }

    fn event(id: &str, name: &str, data: &str) -> SseEvent {
        SseEvent { id: id.into(), name: name.into(), data: data.into() }
    }

    #[test]
    fn the_specifications_rules_by_table() {
        let cases: [(&str, Vec<SseEvent>); 12] = [
            ("data: a\n\n", vec![event("", "message", "a")]),
            ("data:a\r\ndata:  b\r\n\r\n", vec![event("", "message", "a\n b")]),
            ("data: a\r\rdata: b\r\r", vec![event("", "message", "a"), event("", "message", "b")]),
            ("\u{feff}data: a\n\n", vec![event("", "message", "a")]),
            (
                "id: 7\nevent: seal\ndata: x\n\ndata: y\n\n",
                vec![event("7", "seal", "x"), event("7", "message", "y")],
            ),
            ("id: 7\nevent: seal\n\ndata: y\n\n", vec![event("7", "message", "y")]),
            ("id: a\0b\ndata: y\n\n", vec![event("", "message", "y")]),
            (": comment\n\n\n\n", vec![]),
            ("data\n\n", vec![]),
            ("data\ndata\n\n", vec![event("", "message", "\n")]),
            (
                "nonsense: 1\nretry: 5\ndata: {\"a\": \"b: c\"}\n\n",
                vec![event("", "message", "{\"a\": \"b: c\"}")],
            ),
            ("data: not yet whole\n", vec![]),
        ];
        for (text, expected) in cases {
            assert_eq!(read(&[text.as_bytes()], 1000), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn events_are_bounded_but_not_their_number() {
        assert_eq!(read(&[&[b'x'; 60], &[b'x'; 60]], 100), Err(SseError::TooLarge));
        let lines = "data: xyz\n".repeat(20);
        assert_eq!(read(&[lines.as_bytes()], 100), Err(SseError::TooLarge));
        let many = "data: xyz\n\n".repeat(1000);
        assert_eq!(read(&[many.as_bytes()], 100).map(|events| events.len()), Ok(1000));
        assert_eq!(read(&[b"data: \xff\n\n"], 100), Err(SseError::NotUtf8));
    }

    #[test]
    fn chunks_make_no_difference() {
        bolero::check!().with_iterations(2_000).with_type::<(Vec<u8>, Vec<u8>)>().for_each(
            |(noise, cuts)| {
                // Noise alone hardly ever makes an event: mix the alphabet of the format into it.
                let alphabet = b"data: id:event:\n\r\n\n\r:x";
                let text: Vec<u8> =
                    noise.iter().map(|byte| alphabet[usize::from(*byte) % alphabet.len()]).collect();
                let whole = read(&[&text], 1 << 20);
                let mut rest = text.as_slice();
                let mut chunks = Vec::new();
                for cut in cuts {
                    let (chunk, after) = rest.split_at(usize::from(*cut).min(rest.len()));
                    chunks.push(chunk);
                    rest = after;
                }
                chunks.push(rest);
                assert_eq!(read(&chunks, 1 << 20), whole);
                let _ = read(&[noise], 64);
            },
        );
    }
}
