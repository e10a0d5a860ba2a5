//! What the beacon nodes make of a block, folded from what each says. Pure.

use super::Answer;
use earnest_chain::{ChainError, NodeWord, Published};

/// What one node said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing yet.
    Nothing,
    /// It spread the block, and imported it or not.
    Took { imported: bool },
    /// It judged the block and said no, as it does for a second block of a slot.
    Refused,
    /// It answered, but did not judge the block: it is busy, or follows another chain.
    Busy,
    /// It could not be asked.
    Gone,
}

impl Said {
    fn of(word: &NodeWord) -> Self {
        match &word.outcome {
            Ok(published) => Self::Took { imported: *published == Published::Imported },
            Err(ChainError::Unreachable { .. } | ChainError::Timeout { .. }) => Self::Gone,
            Err(error) if error.status() == Some(400) && !word.standing.misleads() => Self::Refused,
            Err(_) => Self::Busy,
        }
    }

    /// Whether the node said all that it will say.
    const fn is_final(self) -> bool {
        matches!(self, Self::Took { .. } | Self::Refused)
    }
}

/// What the beacon nodes made of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not all have spoken, and none of those that did said no.
    Pending,
    /// One at least spread it.
    Broadcast {
        /// Whether one imported it, too.
        imported: bool,
    },
    /// One judged it and said no, and every node that stands better is out of reach.
    Refused,
    /// One said no, but one that stands better may yet take it.
    Disputed,
    /// All answered, or are out of reach; none judged the block.
    Unsure,
    /// None could be asked.
    Unreachable,
}

impl Verdict {
    /// As metrics name it when nothing more is waited for.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Broadcast { imported: true } => "imported",
            Self::Broadcast { imported: false } => "broadcast",
            Self::Refused | Self::Disputed => "refused",
            Self::Unreachable => "unreachable",
            Self::Pending | Self::Unsure => "unsure",
        }
    }

    /// Whether `answer` may be given; none while it is worth waiting for more. A payload that no node spread is given
    /// out only if none was there to judge the block: else a proposer could have it for a block that no one takes.
    pub(super) const fn permits(self, answer: Answer) -> Option<bool> {
        match (self, answer) {
            (Self::Broadcast { .. }, _) | (Self::Unreachable, Answer::Payload) => Some(true),
            (Self::Refused, _) => Some(false),
            _ => None,
        }
    }

    /// Whether `answer` may be given when there is no time to wait for more. A node that hangs may not cost the proposer
    /// its slot.
    pub(super) fn permits_at_last(self, answer: Answer) -> bool {
        self.permits(answer).unwrap_or(self == Self::Pending)
    }
}

/// What each node said, those that stand best first.
#[derive(Debug)]
pub(super) struct Tally {
    nodes: Vec<(usize, Said)>,
}

impl Tally {
    /// Nothing said yet. `ranking` holds the nodes' places in the configuration.
    pub(super) fn new(ranking: &[usize]) -> Self {
        Self { nodes: ranking.iter().map(|place| (*place, Said::Nothing)).collect() }
    }

    /// Takes in a node's word. What a node judged once it does not unsay.
    pub(super) fn hear(&mut self, word: &NodeWord) {
        let node = self.nodes.iter_mut().find(|(place, _)| *place == word.place);
        if let Some((_, said)) = node.filter(|(_, said)| !said.is_final()) {
            *said = Said::of(word);
        }
    }

    /// Whether a node should be asked again: it has not judged the block, and that still matters. What one node imported
    /// the others get from it; and a payload is not sent on after a node that counts refused its block.
    pub(super) fn wants(&self, place: usize) -> bool {
        let open = self.nodes.iter().any(|(other, said)| *other == place && !said.is_final());
        open && !matches!(self.verdict(), Verdict::Broadcast { imported: true } | Verdict::Refused)
    }

    /// What follows from what was said.
    pub(super) fn verdict(&self) -> Verdict {
        let all = || self.nodes.iter().map(|(_, said)| *said);
        if all().any(|said| matches!(said, Said::Took { .. })) {
            return Verdict::Broadcast { imported: all().any(|said| said == Said::Took { imported: true }) };
        }
        let mut before_refusal = all().take_while(|said| *said != Said::Refused);
        match () {
            () if all().any(|said| said == Said::Refused) => {
                if before_refusal.all(|said| said == Said::Gone) {
                    Verdict::Refused
                } else {
                    Verdict::Disputed
                }
            }
            () if all().any(|said| said == Said::Nothing) => Verdict::Pending,
            () if all().any(|said| said == Said::Busy) => Verdict::Unsure,
            () => Verdict::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_chain::Standing;
    use proptest::prelude::*;

    type Outcome = Result<Published, ChainError>;
    /// None if the node has not spoken.
    type Spoken = Option<(Standing, Outcome)>;

    fn word(place: usize, standing: Standing, outcome: Outcome) -> NodeWord {
        NodeWord { place, node: String::new(), standing, outcome }
    }

    fn status(status: u16) -> Outcome {
        Err(ChainError::Status { endpoint: String::new(), status, message: String::new() })
    }

    fn gone() -> Outcome {
        Err(ChainError::Unreachable { endpoint: String::new(), reason: String::new() })
    }

    fn late() -> Outcome {
        Err(ChainError::Timeout { endpoint: String::new(), limit: std::time::Duration::ZERO })
    }

    const SPREAD: Outcome = Ok(Published::BroadcastNotImported);
    const IMPORTED: Outcome = Ok(Published::Imported);

    #[test]
    fn only_a_400_of_a_node_that_counts_is_a_judgement_of_the_block() {
        use Standing::{Behind, Disagreeing, Down, Unknown, Well};
        use Verdict::{Broadcast, Disputed, Pending, Refused, Unreachable, Unsure};
        // What each node said, the best first.
        let cases: Vec<(Vec<Spoken>, Verdict)> = vec![
            (vec![None, None], Pending),
            (vec![None, Some((Well, SPREAD))], Broadcast { imported: false }),
            (vec![Some((Well, status(400))), Some((Well, SPREAD))], Broadcast { imported: false }),
            (vec![Some((Well, SPREAD)), Some((Behind, IMPORTED))], Broadcast { imported: true }),
            (vec![Some((Well, status(400))), None], Refused),
            (vec![None, Some((Well, status(400)))], Disputed),
            (vec![Some((Well, status(503))), Some((Well, status(400)))], Disputed),
            (vec![Some((Well, gone())), Some((Well, status(400)))], Refused),
            (vec![Some((Well, late())), Some((Unknown, status(400)))], Refused),
            (vec![Some((Well, status(503))), Some((Behind, status(400)))], Unsure),
            (vec![Some((Down, gone())), Some((Disagreeing, status(400)))], Unsure),
            (vec![None, Some((Behind, status(400)))], Pending),
            (vec![None, Some((Well, status(429)))], Pending),
            (vec![Some((Well, gone())), Some((Well, status(429)))], Unsure),
            (vec![Some((Well, status(404)))], Unsure),
            (vec![Some((Well, status(500)))], Unsure),
            (vec![Some((Well, gone())), Some((Well, late()))], Unreachable),
        ];
        for (said, expected) in cases {
            let ranking: Vec<usize> = (0..said.len()).collect();
            let mut tally = Tally::new(&ranking);
            for (place, said) in said.iter().enumerate() {
                if let Some((standing, outcome)) = said {
                    tally.hear(&word(place, *standing, outcome.clone()));
                }
            }
            assert_eq!(tally.verdict(), expected, "{said:?}");
        }
    }

    #[test]
    fn what_may_be_answered() {
        let cases = [
            (Verdict::Pending, (None, None), (true, true)),
            (Verdict::Broadcast { imported: false }, (Some(true), Some(true)), (true, true)),
            (Verdict::Refused, (Some(false), Some(false)), (false, false)),
            (Verdict::Disputed, (None, None), (false, false)),
            (Verdict::Unsure, (None, None), (false, false)),
            (Verdict::Unreachable, (Some(true), None), (true, false)),
        ];
        for (verdict, (payload, accepted), at_last) in cases {
            assert_eq!(verdict.permits(Answer::Payload), payload, "{verdict:?}");
            assert_eq!(verdict.permits(Answer::Accepted), accepted, "{verdict:?}");
            let last = [Answer::Payload, Answer::Accepted].map(|answer| verdict.permits_at_last(answer));
            assert_eq!(last, [at_last.0, at_last.1], "{verdict:?}");
        }
    }

    #[test]
    fn who_is_asked_again() {
        let mut tally = Tally::new(&[1, 0, 2]);
        tally.hear(&word(0, Standing::Well, status(503)));
        tally.hear(&word(2, Standing::Behind, status(400)));
        assert_eq!([0, 1, 2, 3].map(|place| tally.wants(place)), [true, true, true, false]);
        tally.hear(&word(2, Standing::Well, status(400)));
        assert_eq!([0, 1, 2].map(|place| tally.wants(place)), [true, true, false], "better ones may take it");
        tally.hear(&word(2, Standing::Well, status(503)));
        assert_eq!(tally.verdict(), Verdict::Disputed, "a judgement stays");
        tally.hear(&word(0, Standing::Well, SPREAD));
        assert_eq!([0, 1, 2].map(|place| tally.wants(place)), [false, true, false], "none imported it");
        tally.hear(&word(1, Standing::Well, IMPORTED));
        assert_eq!([0, 1, 2].map(|place| tally.wants(place)), [false; 3]);

        let mut tally = Tally::new(&[0, 1]);
        tally.hear(&word(1, Standing::Well, gone()));
        tally.hear(&word(0, Standing::Well, status(400)));
        assert!(!tally.wants(1), "the best node refused it");
    }

    fn any_word(nodes: usize) -> impl Strategy<Value = NodeWord> {
        let standings = [
            Standing::Well,
            Standing::Unknown,
            Standing::Faltering,
            Standing::Down,
            Standing::Unverified,
            Standing::Disagreeing,
            Standing::Behind,
            Standing::Ahead,
        ];
        let outcomes = vec![SPREAD, IMPORTED, status(400), status(429), status(500), gone(), late()];
        let parts = (0..nodes, prop::sample::select(standings.to_vec()), prop::sample::select(outcomes));
        parts.prop_map(|(place, standing, outcome)| word(place, standing, outcome))
    }

    proptest! {
        #[test]
        fn any_words_give_a_verdict_that_holds(
            ranking in Just(vec![0_usize, 1, 2, 3]).prop_shuffle(),
            words in prop::collection::vec(any_word(4), 0..12),
        ) {
            let mut tally = Tally::new(&ranking);
            let mut before = tally.verdict();
            for (heard, word) in words.iter().enumerate() {
                tally.hear(word);
                let verdict = tally.verdict();
                if let Verdict::Broadcast { imported } = before {
                    let kept = matches!(verdict, Verdict::Broadcast { imported: now } if now || !imported);
                    prop_assert!(kept, "{before:?} became {verdict:?}");
                }
                if matches!(verdict, Verdict::Refused | Verdict::Disputed) {
                    let sound = |word: &NodeWord| {
                        word.outcome == status(400) && !word.standing.misleads()
                    };
                    prop_assert!(words[..=heard].iter().any(sound));
                }
                if verdict == Verdict::Refused {
                    prop_assert_ne!(tally.nodes[0].1, Said::Nothing);
                    prop_assert_ne!(tally.nodes[0].1, Said::Busy);
                    prop_assert!(ranking.iter().all(|place| !tally.wants(*place)));
                }
                before = verdict;
            }
        }

        #[test]
        fn the_order_in_which_nodes_speak_does_not_matter(
            words in prop::collection::vec(any_word(1), 4),
            order in Just(vec![0_usize, 1, 2, 3]).prop_shuffle(),
        ) {
            let words: Vec<NodeWord> =
                words.into_iter().enumerate().map(|(place, word)| NodeWord { place, ..word }).collect();
            let verdict = |order: &[usize]| {
                let mut tally = Tally::new(&[2, 0, 3, 1]);
                order.iter().for_each(|place| tally.hear(&words[*place]));
                tally.verdict()
            };
            prop_assert_eq!(verdict(&order), verdict(&[0, 1, 2, 3]));
        }
    }
}
