//! Validators that register all at once, beside the bare verification of their signatures.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256};
use blst::{
    BLST_ERROR, blst_scalar,
    min_pk::{PublicKey, Signature},
};
use bytes::Bytes;
use earnest_builder_types::{
    BlsPublicKey, SignedValidatorRegistration, ValidatorRegistration, bls::DST, registrations_to_ssz,
};
use earnest_client::RelayClient;
use earnest_devnet::validator::interop_key;
use rayon::prelude::*;
use serde::Serialize;

use super::{
    ANSWER_TIME, Encoding, RelayLoad, cause, payload_attributes::PayloadAttributes,
    payload_attributes::now_ms, progress,
};
use crate::failure::Failure;

/// Bits of the random factors, as Ethereum's clients have them.
const FACTOR_BITS: usize = 64;

/// Signed registrations of consecutive interop keys.
#[derive(Debug, Clone)]
pub(super) struct Registrations {
    signed: Arc<Vec<SignedValidatorRegistration>>,
    builder_domain: B256,
}

/// Turns that posting and verification take in a run, if there are so many lists: the machine's mood meets both alike.
const TURNS: usize = 10;
/// Registrations signed between two words about it.
const SIGNED_AT_ONCE: usize = 10_000;

/// What was measured; times in seconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RegistrationReport {
    count: usize,
    list: usize,
    encoding: Encoding,
    pub(super) cold_s: f64,
    pub(super) unchanged_s: f64,
    /// blst's batch verification of the same signatures.
    pub(super) blst_s: f64,
    pub(super) cold_over_blst: f64,
}

pub(super) async fn run(options: &RelayLoad, client: &RelayClient) -> Result<RegistrationReport, Failure> {
    let beacon = options.beacon.as_ref().ok_or_else(|| {
        Failure::new(
            "registrations need --beacon: they are signed for its network, whose validators they must be",
        )
    })?;
    let domain = PayloadAttributes::listen(beacon).await?.builder_domain;
    let registrations = Registrations::make(options.first_key, options.count, domain).await?;
    registrations.measure(client, options.list, options.encoding()).await
}

impl Registrations {
    /// Registrations as of now, signed on all cores.
    pub(super) async fn make(first_key: u64, count: usize, builder_domain: B256) -> Result<Self, Failure> {
        let timestamp = now_ms() / 1000;
        let mut signed = Vec::with_capacity(count);
        while signed.len() < count {
            progress(&format!("signing registrations, {} of {count} are", signed.len()));
            let first = first_key.saturating_add(signed.len() as u64);
            let end = first.saturating_add(count.saturating_sub(signed.len()).min(SIGNED_AT_ONCE) as u64);
            let signing = tokio::task::spawn_blocking(move || {
                let keys = (first..end).into_par_iter().map(interop_key);
                keys.map(|key| key.map(|key| sign(&key, timestamp, builder_domain)))
                    .collect::<Result<Vec<_>, _>>()
            });
            signed.append(&mut signing.await.map_err(cause)?.map_err(cause)?);
        }
        Ok(Self { signed: Arc::new(signed), builder_domain })
    }

    /// Posts them as news, then unchanged, in bodies of at most `list`. Of each turn of the first, blst verifies one half
    /// before and the other after.
    pub(super) async fn measure(
        &self,
        client: &RelayClient,
        list: usize,
        encoding: Encoding,
    ) -> Result<RegistrationReport, Failure> {
        let list = if list == 0 { self.signed.len() } else { list }.max(1);
        let lists_in_turn = self.signed.len().div_ceil(list).div_ceil(TURNS).max(1);
        let bodies = self.bodies(list, encoding)?;
        let (mut cold, mut blst, mut done) = (Duration::ZERO, Duration::ZERO, 0_usize);
        let turns = bodies.chunks(lists_in_turn).zip(self.signed.chunks(list.saturating_mul(lists_in_turn)));
        for (bodies, signed) in turns {
            let (before, after) = signed.split_at(signed.len() / 2);
            blst = blst.saturating_add(self.of(before).verify_by_blst().await?);
            cold = cold.saturating_add(post_all(client, bodies, encoding).await?);
            blst = blst.saturating_add(self.of(after).verify_by_blst().await?);
            done = done.saturating_add(signed.len());
            progress(&format!("registering, {done} of {} are", self.signed.len()));
        }
        let unchanged = post_all(client, &bodies, encoding).await?;
        Ok(RegistrationReport {
            count: self.signed.len(),
            list,
            encoding,
            cold_s: cold.as_secs_f64(),
            unchanged_s: unchanged.as_secs_f64(),
            blst_s: blst.as_secs_f64(),
            cold_over_blst: cold.as_secs_f64() / blst.as_secs_f64(),
        })
    }

    /// The validators' keys.
    pub(super) fn keys(&self) -> Vec<BlsPublicKey> {
        self.signed.iter().map(|one| one.message.pubkey).collect()
    }

    /// The first of them alone, and all others.
    pub(super) fn split_first(&self) -> Option<(Self, Self)> {
        let (first, others) = self.signed.split_first()?;
        Some((self.of(std::slice::from_ref(first)), self.of(others)))
    }

    /// Some of them.
    fn of(&self, signed: &[SignedValidatorRegistration]) -> Self {
        Self { signed: Arc::new(signed.to_vec()), builder_domain: self.builder_domain }
    }

    /// Bodies of at most `list` registrations; 0 for one body.
    pub(super) fn bodies(&self, list: usize, encoding: Encoding) -> Result<Vec<Bytes>, Failure> {
        let list = if list == 0 { self.signed.len() } else { list };
        let bodies = self.signed.chunks(list.max(1)).map(|some| match encoding {
            Encoding::Ssz => Ok(registrations_to_ssz(some).into()),
            Encoding::Json => serde_json::to_vec(some).map(Bytes::from).map_err(cause),
        });
        bodies.collect()
    }

    /// What these signatures cost by themselves: points read on all cores, then blst's batch function, which checks
    /// subgroups and verifies on all cores.
    async fn verify_by_blst(&self) -> Result<Duration, Failure> {
        let (signed, domain) = (Arc::clone(&self.signed), self.builder_domain);
        tokio::task::spawn_blocking(move || verify_by_blst(&signed, domain)).await.map_err(cause)?
    }
}

fn sign(
    key: &earnest_builder_types::bls::SecretKey,
    timestamp: u64,
    builder_domain: B256,
) -> SignedValidatorRegistration {
    let message = ValidatorRegistration {
        fee_recipient: Address::repeat_byte(0xfe),
        gas_limit: 60_000_000,
        timestamp,
        pubkey: key.public_key(),
    };
    message.sign(key, builder_domain)
}

fn verify_by_blst(signed: &[SignedValidatorRegistration], builder_domain: B256) -> Result<Duration, Failure> {
    if signed.is_empty() {
        return Ok(Duration::ZERO);
    }
    let roots: Vec<B256> = signed.iter().map(|one| one.message.signing_root(builder_domain)).collect();
    let factors: Vec<blst_scalar> = signed.iter().map(|_| random_factor()).collect();
    let started = Instant::now();
    let points: Vec<(PublicKey, Signature)> = signed
        .par_iter()
        .map(|one| {
            let key = PublicKey::from_bytes(one.message.pubkey.as_slice())?;
            Ok((key, Signature::from_bytes(one.signature.as_slice())?))
        })
        .collect::<Result<_, BLST_ERROR>>()
        .map_err(|error| Failure::new(format!("blst reads no point: {error:?}")))?;
    let roots: Vec<&[u8]> = roots.iter().map(B256::as_slice).collect();
    let (keys, signatures): (Vec<&PublicKey>, Vec<&Signature>) =
        points.iter().map(|(key, signature)| (key, signature)).unzip();
    let verified = Signature::verify_multiple_aggregate_signatures(
        &roots,
        DST,
        &keys,
        true,
        &signatures,
        true,
        &factors,
        FACTOR_BITS,
    );
    match verified {
        BLST_ERROR::BLST_SUCCESS => Ok(started.elapsed()),
        error => Err(Failure::new(format!("blst does not verify what was signed here: {error:?}"))),
    }
}

fn random_factor() -> blst_scalar {
    let mut factor = blst_scalar::default();
    for (to, from) in factor.b.iter_mut().zip(B256::random()).take(FACTOR_BITS / 8) {
        // Odd: no factor is zero.
        *to = from | 1;
    }
    factor
}

/// Posts one body after the other, as one beacon node does.
pub(super) async fn post_all(
    client: &RelayClient,
    bodies: &[Bytes],
    encoding: Encoding,
) -> Result<Duration, Failure> {
    let started = Instant::now();
    for body in bodies {
        let answer = client.register_raw(encoding.media(), body.clone(), ANSWER_TIME).await.map_err(cause)?;
        if !answer.status.is_success() {
            let text = String::from_utf8_lossy(&answer.body);
            return Err(Failure::new(format!("registrations were refused: {} {text}", answer.status)));
        }
    }
    Ok(started.elapsed())
}

impl fmt::Display for RegistrationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each_ms = |seconds: f64| seconds * 1e3 / self.count.max(1) as f64;
        writeln!(f, "{} registrations in lists of {}", self.count, self.list)?;
        writeln!(f, "cold         {:>8.3} s   {:.3} ms each", self.cold_s, each_ms(self.cold_s))?;
        writeln!(f, "unchanged    {:>8.3} s   {:.3} ms each", self.unchanged_s, each_ms(self.unchanged_s))?;
        writeln!(f, "blst, batch  {:>8.3} s   {:.3} ms each", self.blst_s, each_ms(self.blst_s))?;
        writeln!(f, "cold over blst {:.2}", self.cold_over_blst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_builder_types::{domain::builder_domain, registrations_from_ssz};

    #[tokio::test]
    async fn what_is_signed_verifies_and_lists_hold_all_of_it() {
        let made = Registrations::make(7, 5, builder_domain([1; 4])).await.unwrap();
        made.verify_by_blst().await.unwrap();
        assert_eq!(made.keys()[0], interop_key(7).unwrap().public_key());
        for (list, bodies) in [(0, 1), (2, 3), (5, 1), (9, 1)] {
            let ssz = made.bodies(list, Encoding::Ssz).unwrap();
            assert_eq!(ssz.len(), bodies, "lists of {list}");
            let read: Vec<_> = ssz.iter().flat_map(|body| registrations_from_ssz(body).unwrap()).collect();
            assert_eq!(read, *made.signed);
        }
        let (first, others) = made.split_first().unwrap();
        assert_eq!([first.keys(), others.keys()].concat(), made.keys());
        let other_network = Registrations { builder_domain: B256::ZERO, ..made };
        assert!(other_network.verify_by_blst().await.is_err());
    }
}
