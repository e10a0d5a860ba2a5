//! A searcher that keeps the devnet's rollups busy, and a rollup node that executes their signed order.

use std::time::{Duration, Instant};

use alloy_consensus::TxEip1559;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, Bytes, TxKind, U256};
use earnest_chain::ExecutionClient;
use earnest_client::{ClientError, GatewayClient};
use earnest_protocol::{
    RollupId, delegation::TrustRoots, messages::StreamEvent, receipt::PreconfReceipt, signing::EcdsaSecret,
    stream::StreamChecker,
};
use earnest_signer::sign_transaction;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use url::Url;

use crate::promises::Seen;

/// Pause after the gateway said no.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends one account's transactions to one rollup, at a steady rate, each after the receipt of the one before.
#[derive(Debug)]
pub struct Searcher {
    /// The gateways, with their addresses; the first is asked first, then whom it names as the holder.
    pub gateways: Vec<(Url, GatewayClient)>,
    /// The rollup.
    pub rollup: RollupId,
    /// The account.
    pub account: EcdsaSecret,
    /// Time between two transactions.
    pub gap: Duration,
    /// Whose word a receipt is checked against.
    pub trust: TrustRoots,
    /// The rollup's execution client, which knows the account's nonce; without it, it begins at 0.
    pub rpc: Option<ExecutionClient>,
}

impl Searcher {
    /// Runs until nobody listens.
    pub async fn run(self, seen: mpsc::UnboundedSender<Seen>) {
        let mut nonce = self.nonce().await;
        let mut at = 0;
        let mut ticks = interval(self.gap);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !seen.is_closed() {
            ticks.tick().await;
            let Some(raw) = transaction(&self.account, self.rollup, nonce) else { return };
            let Some((receipt, latency)) = self.place(&raw, &seen, &mut at).await else { return };
            nonce = nonce.saturating_add(1);
            let rollup = self.rollup;
            let report = match receipt.verify(&self.trust) {
                Ok(_) => Seen::Receipt { rollup, receipt: Box::new(receipt), latency },
                Err(error) => Seen::BadReceipt { rollup, error: error.to_string() },
            };
            if seen.send(report).is_err() {
                return;
            }
        }
    }

    /// Submits until there is a receipt, through windows that nobody holds. `None` once nobody listens.
    async fn place(
        &self,
        raw: &Bytes,
        seen: &mpsc::UnboundedSender<Seen>,
        at: &mut usize,
    ) -> Option<(PreconfReceipt, Duration)> {
        let mut sent_on = false;
        loop {
            let from = Instant::now();
            let (_, gateway) = self.gateways.get(*at)?;
            match gateway.submit_raw(self.rollup, raw.0.clone()).await {
                Ok(receipt) => return Some((receipt, from.elapsed())),
                Err(error) => {
                    if let Some(holder) = self.holder(&error).filter(|_| !sent_on) {
                        (*at, sent_on) = (holder, true);
                        continue;
                    }
                    sent_on = false;
                    let code = match &error {
                        ClientError::Refused(refusal) => refusal.code.clone(),
                        _ => "unreachable".to_owned(),
                    };
                    tracing::debug!(rollup = %self.rollup, %error, "no receipt yet");
                    seen.send(Seen::Refused { rollup: self.rollup, code }).ok()?;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// The gateway that a refusal names as the holder, if it is one that we know.
    fn holder(&self, error: &ClientError) -> Option<usize> {
        let refusal = error.refusal().filter(|refusal| refusal.code == "not_holder")?;
        let url: Url = refusal.body.get("url")?.as_str()?.parse().ok()?;
        self.gateways.iter().position(|(known, _)| *known == url)
    }

    async fn nonce(&self) -> u64 {
        let Some(rpc) = &self.rpc else { return 0 };
        rpc.nonce(self.account.address(), BlockNumberOrTag::Latest).await.unwrap_or_default()
    }
}

/// A transfer of one wei.
fn transaction(account: &EcdsaSecret, rollup: RollupId, nonce: u64) -> Option<Bytes> {
    let transaction = TxEip1559 {
        chain_id: rollup.0,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(0xee)),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    sign_transaction(transaction, account).ok()
}

/// Executes a rollup's signed order as it comes, after checking it: ahead of L1, as a rollup node does that shows its
/// users preconfirmed state. It does not roll back: the devnet's rollups lose no window unless a fault is asked for.
#[derive(Debug)]
pub struct Executor {
    /// The gateway.
    pub gateway: GatewayClient,
    /// The rollup.
    pub rollup: RollupId,
    /// Whose word counts.
    pub trust: TrustRoots,
    /// Where the transactions are executed.
    pub rpc: ExecutionClient,
}

impl Executor {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut stream = self.gateway.stream(self.rollup, None);
        let mut checker = StreamChecker::new(self.rollup, self.trust, None);
        loop {
            let event = match stream.next().await {
                Ok(numbered) => numbered.event,
                Err(error) => {
                    tracing::warn!(rollup = %self.rollup, %error, "the order cannot be read");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            if let Err(violation) = checker.on(&event) {
                tracing::error!(rollup = %self.rollup, %violation, "not executed");
                continue;
            }
            let StreamEvent::Microblock(microblock) = event else { continue };
            for transaction in &microblock.transactions {
                if let Err(error) = self.rpc.send_raw_transaction(transaction).await {
                    tracing::debug!(rollup = %self.rollup, %error, "transaction not executed");
                }
            }
        }
    }
}
