//! What cannot be done, said before anything is sent.

use alloy_primitives::B256;
use earnest_builder_types::bls::SecretKey;
use earnest_tests::binary::run;

use super::{FRAUD_WINDOW, OWNER, RELAY, Rig, stand_ins::Fault};

#[tokio::test]
async fn what_the_contracts_would_refuse_is_said_before_anything_is_sent() {
    let rig = Rig::start().await;
    let before = rig.blocks().await;
    rig.proposer(&["register", "--collateral", "1ether"])
        .await
        .refused("less collateral than the Registry takes");
    rig.proposer(&["register", "--collateral", "20000ether"]).await.refused("fund it first");
    rig.proposer(&["opt-in"]).await.refused("register first");
    rig.proposer(&["opt-in", "--root", &B256::repeat_byte(5).to_string()]).await.refused("nobody registered");
    rig.proposer(&["deposit", "--escrow", "0ether"]).await.refused("the amount is zero");
    rig.proposer(&["register", "--owner-key-file", "nothing"]).await.refused("nothing");

    // The owner's key in a keystore.
    let import = [
        "keys",
        "import",
        "ecdsa",
        "owner",
        "--dir",
        "safe",
        "--password-file",
        "password",
        "--kdf",
        "light",
    ];
    assert!(run(import, rig.folder.path()).await.status.success());
    let safe = std::fs::read_dir(rig.folder.path().join("safe")).unwrap().next().unwrap().unwrap().path();
    let by_keystore =
        ["deposit", "--escrow", "1ether", "--dry-run", "--owner-key-file", safe.to_str().unwrap()];
    let with = |more: [&'static str; 2]| [&by_keystore[..], &more].concat();
    rig.proposer(&by_keystore).await.refused("for a keystore, name its password_file too");
    rig.proposer(&with(["--owner-password-file", "owner"])).await.refused("wrong password");
    rig.proposer(&with(["--owner-password-env", "EARNEST_NO_SUCH"])).await.refused("is not set");
    let said = rig.proposer(&with(["--owner-password-file", "password"])).await.well();
    assert!(said.contains(&OWNER.to_string()), "{said}");

    // A signer that signs with another key, or that is not there.
    let strange = rig.hold(&rig.web3signer);
    rig.web3signer.fails(Some(Fault::OtherKey));
    rig.proposer(&["register"]).await.refused("its signature is not that of");
    rig.web3signer.fails(Some(Fault::OtherRoot));
    rig.proposer(&["register"]).await.refused("its signature is not that of");
    rig.web3signer.fails(Some(Fault::Says(503, b"down".to_vec())));
    rig.proposer(&["register"]).await.refused("503");
    rig.web3signer.fails(None);

    // A key that the beacon chain does not know.
    rig.beacon.known.lock().retain(|key| *key != strange);
    rig.proposer(&["register"]).await.refused(&format!("{strange} is no validator"));
    let unknown = SecretKey::random().unwrap().public_key().to_string();
    rig.proposer(&["register", "--pubkeys", &unknown]).await.refused("no signer of ours holds");
    assert_eq!((rig.blocks().await, rig.roots().len()), (before, 0), "nothing was sent, nothing written");

    let some: Vec<String> = rig.beacon.known.lock().iter().map(ToString::to_string).collect();
    rig.proposer(&["register", "--pubkeys", &some[0]]).await.well();
    let said = rig.proposer(&["register", "--force"]).await;
    assert!(said.err.contains("registered all the same"), "{}", said.all());
    assert!(said.well().contains("register 2 keys"));
    let roots = rig.roots();
    rig.proposer(&["opt-in"]).await.refused("which operator? Give --root");
    rig.wait(FRAUD_WINDOW).await;
    let (one, two) = (roots[0].to_string(), roots[1].to_string());
    rig.proposer(&["opt-in", "--root", &one]).await.well();
    rig.proposer(&["opt-in", "--root", &two]).await.refused("take a fresh key");

    // Another owner with the same keys.
    rig.configure("other.toml", &rig.beacon.url, "other", RELAY);
    rig.with("other.toml", &["register"]).await.refused("keys are registered with another owner");
    rig.with("other.toml", &["unregister", "--root", &one]).await.refused("give the owner's key");

    // Other networks.
    let text = std::fs::read_to_string(rig.folder.path().join("p.toml")).unwrap();
    for (from, to, said) in [
        ("chain_id = 7014190", "chain_id = 1", "has chain id 7014190"),
        (
            "genesis_fork_version = \"0x10000038\"",
            "genesis_fork_version = \"0x10000910\"",
            "is of another network",
        ),
        (
            &*format!("registry = \"{}\"", rig.addresses.registry),
            &*format!("registry = \"{RELAY}\""),
            "no contract at",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(rig.folder.path().join("wrong.toml"), text.replace(from, to)).unwrap();
        rig.with("wrong.toml", &["opt-in", "--root", &one]).await.refused(said);
    }
}
