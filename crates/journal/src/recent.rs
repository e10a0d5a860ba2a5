use crate::Entry;
use std::collections::VecDeque;

/// The newest entries, kept in memory so that following the log does not read the disk.
#[derive(Debug)]
pub(crate) struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
    limit: usize,
}

impl Recent {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, limit }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.bytes = self.bytes.saturating_add(cost(&entry));
        self.entries.push_back(entry);
        while self.bytes > self.limit {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(cost(&oldest));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Entries from `from` on, at most `max_records` and about `max_bytes`; `None` if that one is not
    /// held.
    pub(crate) fn read(&self, from: u64, max_records: usize, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.position;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        if skip >= self.entries.len() {
            return None;
        }
        let mut bytes = 0usize;
        let mut taken = Vec::new();
        for entry in self.entries.iter().skip(skip).take(max_records) {
            bytes = bytes.saturating_add(entry.body.len());
            if bytes > max_bytes && !taken.is_empty() {
                break;
            }
            taken.push(entry.clone());
        }
        Some(taken)
    }
}

fn cost(entry: &Entry) -> usize {
    entry.body.len().saturating_add(std::mem::size_of::<Entry>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use bytes::Bytes;

    #[test]
    fn holds_the_newest_within_its_limit() {
        let mut recent = Recent::new(10 * (100 + std::mem::size_of::<Entry>()));
        for position in 0..25 {
            let body = Bytes::from(vec![0; 100]);
            recent.push(Entry { position, kind: 0, at_ms: 0, body, hash: B256::ZERO });
        }
        assert_eq!(recent.read(14, 100, usize::MAX), None);
        assert_eq!(recent.read(25, 100, usize::MAX), None);
        let positions = |from, records, bytes| {
            recent.read(from, records, bytes).unwrap().iter().map(|e| e.position).collect::<Vec<_>>()
        };
        assert_eq!(positions(15, 100, usize::MAX), (15..25).collect::<Vec<_>>());
        assert_eq!(positions(20, 2, usize::MAX), [20, 21]);
        assert_eq!(positions(20, 10, 250), [20, 21]);
        assert_eq!(positions(24, 10, 0), [24]);
    }
}
