//! All nodes are looked at once a slot; one that is not well costs a line, and is asked last.

use std::time::Duration;

use alloy_primitives::B256;
use earnest_chain::{BeaconOptions, Standing};

use super::{
    client, lines,
    node::{Answer, Node, Says},
    patient,
};

#[tokio::test]
async fn every_node_gets_its_standing_and_the_best_is_asked() {
    let mut down = Node::at(1, 100, 7).await;
    down.kill().await;
    let silent = Node::at(2, 100, 7).await;
    silent.says(|says| says.survey = Answer::Never);
    let behind = Node::at(3, 90, 3).await;
    let astray = Node::at(4, 100, 99).await;
    let offline = Node::at(5, 100, 7).await;
    offline.says(|says| says.el_offline = true);
    let late = Node::at(6, 99, 6).await;
    let well = Node::at(7, 100, 7).await;
    let also_well = Node::at(8, 100, 7).await;
    let nodes = [&down, &silent, &behind, &astray, &offline, &late, &well, &also_well];
    let options = BeaconOptions { survey_timeout: Duration::from_secs(4), ..patient() };
    let beacon = client(&nodes, options);

    let survey = beacon.survey(100).await;
    use Standing::{Behind, Disagreeing, Down, Unverified, Well};
    assert_eq!(
        survey.nodes.iter().map(|node| node.standing).collect::<Vec<_>>(),
        [Down, Down, Behind, Disagreeing, Unverified, Well, Well, Well]
    );
    let head = survey.head.unwrap();
    assert_eq!((head.slot, head.root, head.nodes), (100, B256::repeat_byte(7), 2));
    assert_eq!(survey.nodes[2].head, Some((90, B256::repeat_byte(3))));
    assert_eq!((survey.usable(), survey.slots_without_block(), survey.slot), (true, 0, 100));
    assert!(survey.nodes.iter().all(|node| node.reason.is_empty() == (node.standing == Well)));
    assert!(survey.nodes[1].reason.contains("did not answer within 4s"), "{}", survey.nodes[1].reason);
    assert!(!format!("{survey:?}").contains("secret"));

    assert_eq!(beacon.genesis().await.unwrap().genesis_time, 7, "node 7 is the first on the newest head");
    assert_eq!(nodes.map(Node::asked), [0, 0, 0, 0, 0, 0, 1, 0]);
}

#[tokio::test]
async fn a_change_of_standing_is_one_line_in_the_log() {
    let (one, mut other) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    let beacon = client(&[&one, &other], patient());
    beacon.survey(100).await;
    assert_eq!(lines::take().len(), 2, "each is well");

    other.kill().await;
    for slot in 100..105 {
        assert!(beacon.survey(slot).await.usable());
        beacon.genesis().await.unwrap();
    }
    let told = lines::take();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("WARN") && told[0].contains(&other.name()), "{told:?}");
    assert!(told[0].contains("down") && !told[0].contains("secret"), "{told:?}");

    other.revive().await;
    other.says(|says| *says = Says { is_syncing: true, ..Says::at(60, 1) });
    beacon.survey(105).await;
    let told = lines::take();
    assert!(told.len() == 1 && told[0].contains("7 slots to go"), "{told:?}");

    other.says(|says| *says = Says::at(100, 7));
    for slot in 106..110 {
        assert_eq!(beacon.survey(slot).await.slots_without_block(), slot - 100);
    }
    let told = lines::take();
    assert!(told.len() == 1 && told[0].starts_with("INFO"), "{told:?}");
}

#[tokio::test]
async fn without_a_node_in_order_none_is_usable() {
    let (syncing, mut down) = (Node::at(1, 50, 7).await, Node::at(2, 100, 7).await);
    syncing.says(|says| says.is_syncing = true);
    down.kill().await;
    let beacon = client(&[&syncing, &down], patient());
    let survey = beacon.survey(100).await;
    assert!(!survey.usable() && survey.head.is_none());
    assert_eq!(survey.slots_without_block(), 100);
    assert_eq!(beacon.genesis().await.unwrap().genesis_time, 1, "better than no answer");
}
