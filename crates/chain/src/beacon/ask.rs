//! One question to the nodes, best first; a node that keeps us waiting is not waited for alone.

use std::{future::Future, pin::pin, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep};

use super::BeaconClient;
use crate::{agreement::Standing, error::ChainError, transport::Endpoint};

/// A node that is asked, or will be.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Its place in the ranking, 0 for the best.
    rank: usize,
    /// Its place in the configuration.
    node: usize,
    standing: Standing,
}

/// Who is to be asked next, and whose word counts. Pure.
///
/// Nodes that mislead (behind, on another branch, unverified) are only asked when every better one has failed: a
/// late answer is worth more than a wrong one. That something is not there (404) or that the question is bad is
/// taken from a node once no better one is still thinking.
#[derive(Debug)]
struct Race {
    waiting: std::vec::IntoIter<Candidate>,
    /// Nodes that were asked and have not answered, best first.
    running: Vec<Candidate>,
    /// The best-ranked answer that the fault is with the question.
    refusal: Option<(usize, ChainError)>,
    /// The best-ranked node's own fault.
    failure: Option<(usize, ChainError)>,
}

impl Race {
    fn new(ranking: Vec<(usize, Standing)>) -> Self {
        let candidates: Vec<Candidate> =
            (0..).zip(ranking).map(|(rank, (node, standing))| Candidate { rank, node, standing }).collect();
        Self { waiting: candidates.into_iter(), running: Vec::new(), refusal: None, failure: None }
    }

    /// Whether another node may be asked now.
    fn has_next(&self) -> bool {
        let better_at_work = self.running.iter().any(|one| !one.standing.misleads());
        self.refusal.is_none()
            && self
                .waiting
                .as_slice()
                .first()
                .is_some_and(|next| !(next.standing.misleads() && better_at_work))
    }

    fn next(&mut self) -> Option<Candidate> {
        let next = if self.has_next() { self.waiting.next() } else { None }?;
        self.running.push(next);
        Some(next)
    }

    /// Whether the question is over with a refusal or a failure, after one more node has spoken.
    fn end(&mut self) -> Option<ChainError> {
        let best_running = self.running.first().map(|one| one.rank);
        match &self.refusal {
            Some((rank, _)) if best_running.is_none_or(|best| *rank < best) => {
                self.refusal.take().map(|(_, error)| error)
            }
            None if best_running.is_none() && self.waiting.as_slice().is_empty() => {
                self.failure.take().map(|(_, error)| error)
            }
            _ => None,
        }
    }

    fn refused(&mut self, by: Candidate, error: ChainError) {
        self.leaves(by);
        keep_best(&mut self.refusal, by.rank, error);
    }

    fn failed(&mut self, by: Candidate, error: ChainError) {
        self.leaves(by);
        keep_best(&mut self.failure, by.rank, error);
    }

    /// The nodes that were asked before `winner` and have not answered.
    fn outrun_by(&self, winner: Candidate) -> impl Iterator<Item = usize> {
        self.running.iter().filter(move |one| one.rank < winner.rank).map(|one| one.node)
    }

    fn leaves(&mut self, candidate: Candidate) {
        self.running.retain(|one| one.rank != candidate.rank);
    }
}

fn keep_best(held: &mut Option<(usize, ChainError)>, rank: usize, error: ChainError) {
    if held.as_ref().is_none_or(|(best, _)| rank < *best) {
        *held = Some((rank, error));
    }
}

impl BeaconClient {
    /// Asks the node that stands best, and the next one too whenever one fails or `hedge_delay` passes without an
    /// answer. The first good answer counts. In all it takes no longer than `ask_timeout`.
    ///
    /// Nodes that failed, or were outrun by one asked later, are asked after the others for a while.
    pub(super) async fn ask<T, F, Fut>(&self, call: F) -> Result<T, ChainError>
    where
        F: Fn(Endpoint) -> Fut,
        Fut: Future<Output = Result<T, ChainError>>,
    {
        let asked = |candidate: Candidate| {
            // Places in the ranking are those of the configuration.
            let answer = self.nodes.get(candidate.node).cloned().map(&call);
            async move {
                let since = Instant::now();
                let answer = match answer {
                    Some(answer) => answer.await,
                    None => Err(no_node()),
                };
                (candidate, answer, since.elapsed())
            }
        };
        let mut race = Race::new(self.ranking());
        let mut answers = FuturesUnordered::new();
        answers.extend(race.next().map(&asked));
        let mut hedge = pin!(sleep(self.options.hedge_delay));
        let mut deadline = pin!(sleep(self.options.ask_timeout));
        loop {
            tokio::select! {
                biased;
                Some((by, answer, took)) = answers.next() => match answer {
                    Err(error) if error.is_of_the_node() => {
                        self.note_failure(by.node, &error);
                        race.failed(by, error);
                        if race.has_next() {
                            answers.extend(race.next().map(&asked));
                            hedge.set(sleep(self.options.hedge_delay));
                        }
                    }
                    Err(error) => {
                        self.note_answer(by.node, took);
                        race.refused(by, error);
                    }
                    Ok(answer) => {
                        self.note_outrun(race.outrun_by(by));
                        self.note_answer(by.node, took);
                        return Ok(answer);
                    }
                },
                () = &mut hedge, if race.has_next() => {
                    answers.extend(race.next().map(&asked));
                    hedge.set(sleep(self.options.hedge_delay));
                }
                () = &mut deadline => return Err(self.too_late(&race)),
            }
            if let Some(error) = race.end() {
                return Err(error);
            }
        }
    }

    fn ranking(&self) -> Vec<(usize, Standing)> {
        let agreement = self.shared.agreement.lock();
        agreement.ranking().into_iter().map(|node| (node, agreement.standing(node))).collect()
    }

    fn note_failure(&self, node: usize, error: &ChainError) {
        let news = self.shared.agreement.lock().failed(node, &error.to_string());
        self.tell(news);
    }

    fn note_outrun(&self, nodes: impl Iterator<Item = usize>) {
        for node in nodes {
            let news = self.shared.agreement.lock().outrun(node);
            self.tell(news);
        }
    }

    /// An answer in good time speaks for a node.
    fn note_answer(&self, node: usize, took: Duration) {
        if took <= self.options.hedge_delay {
            let news = self.shared.agreement.lock().answered(node);
            self.tell(news);
        }
    }

    /// The whole question took too long: whoever is still at it failed.
    fn too_late(&self, race: &Race) -> ChainError {
        let mut error = no_node();
        for one in race.running.iter().rev() {
            let Some(node) = self.nodes.get(one.node) else { continue };
            error = ChainError::Timeout { endpoint: node.name().to_owned(), limit: self.options.ask_timeout };
            self.note_failure(one.node, &error);
        }
        error
    }
}

fn no_node() -> ChainError {
    ChainError::Config("no beacon node given".to_owned())
}

#[cfg(test)]
mod tests {
    use Standing::{Behind, Down, Faltering, Well};

    use super::*;

    fn error(status: u16) -> ChainError {
        ChainError::Status { endpoint: "n".to_owned(), status, message: String::new() }
    }

    fn race(standings: &[Standing]) -> Race {
        Race::new(standings.iter().copied().enumerate().collect())
    }

    /// The nodes that would be asked if no answer ever came.
    fn all_next(race: &mut Race) -> Vec<usize> {
        std::iter::from_fn(|| race.next()).map(|one| one.node).collect()
    }

    #[test]
    fn who_misleads_is_asked_only_when_every_better_node_failed() {
        let mut race = race(&[Well, Faltering, Down, Behind, Behind]);
        let first = race.next().unwrap();
        assert_eq!(all_next(&mut race), [1, 2], "they are not waited for one by one");
        let (second, third) = (race.running[1], race.running[2]);
        race.failed(third, error(500));
        race.failed(first, error(501));
        assert!(!race.has_next(), "a late answer is better than a wrong one");
        race.failed(second, error(502));
        assert_eq!(all_next(&mut race), [3, 4]);
        for last in race.running.clone() {
            assert_eq!(race.end(), None);
            race.failed(last, error(503));
        }
        assert_eq!(race.end(), Some(error(501)), "the best node's fault is told");
    }

    #[test]
    fn a_refusal_waits_for_better_nodes() {
        let mut race = race(&[Well, Well, Well]);
        let (first, second) = (race.next().unwrap(), race.next().unwrap());
        race.refused(second, error(404));
        assert_eq!((race.end(), race.next().is_none()), (None, true), "nobody else is asked");
        race.failed(first, error(500));
        assert_eq!(race.end(), Some(error(404)));

        let mut race = self::race(&[Well, Well]);
        let (first, _) = (race.next().unwrap(), race.next().unwrap());
        race.refused(first, error(400));
        assert_eq!(race.end(), Some(error(400)), "a worse node is not waited for");
    }

    #[test]
    fn only_nodes_that_were_asked_before_are_outrun() {
        let mut race = race(&[Well, Well, Well]);
        let (_, second, _) = (race.next().unwrap(), race.next().unwrap(), race.next().unwrap());
        assert_eq!(race.outrun_by(second).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn without_nodes_nothing_is_asked() {
        let mut race = race(&[]);
        assert!(race.next().is_none() && race.end().is_none());
    }
}
