use super::*;
use crate::AppendError;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    /// Appends with an expectation that is off by so much, or with none.
    Append {
        off: Option<i8>,
        records: Vec<(u16, Vec<u8>)>,
        claims: Vec<(u8, u8)>,
    },
    Read {
        from: u64,
        records: usize,
        bytes: usize,
    },
    Reopen,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let off = prop_oneof![1 => Just(None), 4 => Just(Some(0)), 1 => (-2i8..3).prop_map(Some)];
    let records = prop::collection::vec((0u16..9, prop::collection::vec(any::<u8>(), 0..300)), 0..4);
    let claims = prop::collection::vec((0u8..6, 0u8..3), 0..3);
    prop_oneof![
        8 => (off, records, claims).prop_map(|(off, records, claims)| Step::Append { off, records, claims }),
        3 => (0u64..40, 0usize..20, 0usize..2000)
            .prop_map(|(from, records, bytes)| Step::Read { from, records, bytes }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Restart),
    ]
}

#[derive(Default)]
struct Model {
    records: Vec<Record>,
    claims: BTreeMap<Vec<u8>, B256>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Head(u64),
    Conflict,
    Refused,
}

impl Model {
    fn append(&mut self, expected: Option<u64>, batch: &Batch) -> Answer {
        let head = self.records.len() as u64;
        if expected.is_some_and(|expected| expected != head) {
            return Answer::Conflict;
        }
        let mut claims = self.claims.clone();
        for Claim { key, value } in &batch.claims {
            if *claims.entry(key.clone()).or_insert(*value) != *value {
                return Answer::Refused;
            }
        }
        let new = claims.len() > self.claims.len();
        self.claims = claims;
        self.records.extend(batch.records.clone());
        if batch.records.is_empty() && new {
            self.records.push(Record { kind: crate::KIND_CLAIMS, body: bytes::Bytes::new() });
        }
        Answer::Head(self.records.len() as u64)
    }
}

fn check(log: &Journal, model: &Model) {
    let entries = read_all(log);
    assert_eq!(
        entries.iter().map(|entry| entry.position).collect::<Vec<_>>(),
        (0..entries.len() as u64).collect::<Vec<_>>()
    );
    let records: Vec<_> =
        entries.into_iter().map(|entry| Record { kind: entry.kind, body: entry.body }).collect();
    assert_eq!(records, model.records);
    assert_eq!(log.head(), model.records.len() as u64);
    let claims = log.claims(b"").unwrap().into_iter().map(|claim| (claim.key, claim.value));
    assert_eq!(claims.collect::<BTreeMap<_, _>>(), model.claims);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_does_what_a_list_and_a_map_would(steps in prop::collection::vec(step(), 1..30), recent in 0usize..3000) {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { recent_bytes: recent, ..OPTIONS };
        let mut log = Journal::open(directory.path(), options).unwrap();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append { off, records, claims } => {
                    let batch = Batch {
                        records: records.into_iter().map(|(kind, body)| Record { kind, body: body.into() }).collect(),
                        claims: claims
                            .into_iter()
                            .map(|(key, value)| Claim { key: vec![key], value: B256::repeat_byte(value) })
                            .collect(),
                    };
                    let expected = off.map(|off| log.head().saturating_add_signed(off.into()));
                    let answer = match expected {
                        Some(expected) => log.append(expected, batch.clone()),
                        None => log.append_next(batch.clone()),
                    };
                    let answer = match answer {
                        Ok(head) => Answer::Head(head),
                        Err(AppendError::Conflict { head }) => {
                            prop_assert_eq!(head, log.head());
                            Answer::Conflict
                        }
                        Err(AppendError::Refused { key, existing }) => {
                            let held = model.claims.get(key.as_ref());
                            prop_assert!(held.is_none_or(|held| *held == existing));
                            Answer::Refused
                        }
                        Err(error) => panic!("{error}"),
                    };
                    prop_assert_eq!(answer, model.append(expected, &batch));
                }
                Step::Read { from, records, bytes } => {
                    let read = log.read(from, records, bytes).unwrap();
                    let available = (model.records.len() as u64).saturating_sub(from) as usize;
                    prop_assert!(read.len() <= records && read.len() <= available);
                    prop_assert_eq!(read.is_empty(), records == 0 || available == 0);
                    let total: usize = read.iter().map(|entry| entry.body.len()).sum();
                    prop_assert!(total <= bytes || read.len() == 1);
                    for (entry, position) in read.iter().zip(from..) {
                        prop_assert_eq!(entry.position, position);
                        prop_assert_eq!(&entry.body, &model.records[position as usize].body);
                    }
                }
                Step::Reopen => prop_assert_eq!(log.reopen().unwrap(), model.records.len() as u64),
                Step::Restart => {
                    drop(log);
                    log = Journal::open(directory.path(), options).unwrap();
                }
            }
        }
        check(&log, &model);
        drop(log);
        check(&Journal::open(directory.path(), options).unwrap(), &model);
    }
}
