//! A limit on the size of one server-sent event, since the parser itself has none.

/// Counts the bytes of the event being received; a blank line ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventBound {
    limit: usize,
    since_blank: usize,
    in_line: usize,
}

impl EventBound {
    /// Events of at most `limit` bytes, field names and line ends included.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, since_blank: 0, in_line: 0 }
    }

    /// Takes the next chunk. False once an event passes the limit.
    pub(crate) fn take(&mut self, chunk: &[u8]) -> bool {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n' || *byte == b'\r') {
            let blank = self.in_line == 0 && end == 0;
            self.since_blank = if blank { 0 } else { self.since_blank.saturating_add(end).saturating_add(1) };
            self.in_line = 0;
            if self.since_blank > self.limit {
                return false;
            }
            rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
        }
        self.in_line = self.in_line.saturating_add(rest.len());
        self.since_blank = self.since_blank.saturating_add(rest.len());
        self.since_blank <= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_line_is_cut_off() {
        let mut bound = EventBound::new(100);
        assert!(bound.take(&[b'x'; 60]));
        assert!(!bound.take(&[b'x'; 60]));
    }

    #[test]
    fn many_lines_without_a_blank_one_are_one_event() {
        let mut bound = EventBound::new(100);
        assert!((0..10).all(|_| bound.take(b"data: xyz\n")));
        assert!(!bound.take(b"data: xyz\n"));
    }

    #[test]
    fn a_blank_line_starts_anew() {
        for end in ["\n\n", "\r\n\r\n", "\r\r"] {
            let mut bound = EventBound::new(40);
            for _ in 0..100 {
                assert!(bound.take(format!("data: 0123456789{end}").as_bytes()));
            }
        }
    }
}
