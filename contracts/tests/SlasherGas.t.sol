// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {AtomicityEvidence, ConstraintAnswer, OmissionEvidence} from "../src/Evidence.sol";
import {
    BundleCommitment,
    OrderingCommitment,
    SignedAuctionResult,
    SignedCommitment,
    SignedConstraintReceipt,
    SignedDelegation,
    SignedDelegationReceipt,
    ConstraintReceipt
} from "../src/Objects.sol";
import {Inbox} from "../src/Inbox.sol";
import {OrderingSlasher} from "../src/OrderingSlasher.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {SlasherFixture} from "./SlasherFixture.sol";

/// Gas of what the slasher does, without the 21,000 and the calldata of the transaction that carries it. The numbers
/// stand in `snapshots/`; `contracts/test` fails if they change unsaid.
contract SlasherGasTest is SlasherFixture {
    /// Accounts that are there: who pays for transactions has ether, and so has the zero address.
    function setUp() public override {
        super.setUp();
        vm.deal(stranger, 1);
        vm.deal(address(0), 1);
    }

    /// 21,000 and the calldata, by EIP-7623: the floor where that is more than what execution adds up to.
    function whole(bytes memory input, uint256 used) internal pure returns (uint256) {
        uint256 tokens = 0;
        for (uint256 i = 0; i < input.length; ++i) {
            tokens += input[i] == 0 ? 1 : 4;
        }
        uint256 standard = 4 * tokens + used;
        return 21_000 + (standard > 10 * tokens ? standard : 10 * tokens);
    }

    function measure(string memory name, SignedCommitment memory judged, bytes memory evidence)
        internal
        returns (uint256 all)
    {
        vm.prank(stranger);
        registry.slashCommitment(root, judged, evidence);
        uint256 used = vm.snapshotGasLastCall("OrderingSlasher", name);
        bytes4 selector = bytes4(
            keccak256("slashCommitment(bytes32,((uint64,bytes,bytes32,address),uint64,bytes32,bytes),bytes)")
        );
        all = whole(abi.encodeWithSelector(selector, root, judged, evidence), used);
        vm.snapshotValue("OrderingSlasher", string.concat(name, ", whole transaction"), all);
    }

    function test_equivocation() public {
        OrderingCommitment memory other = microblock();
        other.txRoot = keccak256("another");
        assertLe(measure("slash equivocation", sign(microblock()), equivocation(sign(other))), 250_000);
    }

    function test_brokenChain() public {
        OrderingCommitment memory next = microblock(4, 9, hashes(0, 1));
        measure("slash broken chain", sign(next), brokenChain(sign(microblock())));
    }

    function test_postSeal() public {
        SignedCommitment memory sealing = sign(sealOf(3, hashes(0, 5), 1));
        measure("slash post seal", sign(microblock(4, 5, hashes(5, 1))), postSeal(sealing));
    }

    /// A segment of 1,000 transactions, a microblock of 300.
    function test_omission() public {
        OmissionEvidence memory shown;
        bytes32[] memory promised = hashes(0, 300);
        bytes32[] memory kept = hashes(0, 1000);
        kept[207] = keccak256("another");
        shown.index = 207;
        (shown.txHash, shown.path) = (promised[207], pathOf(0, promised, 207));
        (shown.sealedTxHash, shown.sealedPath) = (kept[207], pathOf(0, kept, 207));
        shown.seal = sign(sealOf(9, kept, 2));
        measure("slash omission", sign(microblock(3, 0, promised)), omission(shown));
    }

    function test_atomicityBreak() public {
        BundleCommitment memory judged = bundle(4);
        AtomicityEvidence memory shown;
        bytes32[] memory there = hashes(0, 300);
        shown.shown = sign(microblock(3, 0, there));
        (shown.shownTxHash, shown.path) = (there[6], pathOf(0, there, 6));
        measure("slash atomicity break", sign(judged), atomicity(shown));
    }

    function test_forcedInclusionSkipped() public {
        vm.warp(START - 97 * 12);
        for (uint256 i = 0; i < 100; ++i) {
            inbox.enqueue(ROLLUP, "due");
        }
        vm.warp(START + 1 hours);
        measure("slash forced inclusion skipped", sign(microblock(0, 0, hashes(0, 1))), evidenceOf(7, ""));
    }

    function test_missedWindow() public {
        SignedCommitment memory judged = sign(microblock());
        vm.prank(accuser);
        slasher.accuse{value: BOND}(root, judged, missedWindow(0));
        vm.snapshotGasLastCall("OrderingSlasher", "accuse missed window");
        skip(ANSWER + 1);
        measure("slash missed window", judged, missedWindow(0));
    }

    function test_unauthorizedSequencing() public {
        SignedCommitment memory judged = sign(microblock());
        bytes32 id = accuse(judged, unauthorized());
        vm.snapshotGasLastCall("OrderingSlasher", "accuse unauthorized sequencing");
        SignedDelegation memory given = delegation(allocation());
        SignedDelegationReceipt memory receipt = receiptOf(given, 1);
        uint256 clean = vm.snapshotState();
        slasher.answerDelegation(id, given, receipt);
        vm.snapshotGasLastCall("OrderingSlasher", "answer delegation");
        vm.revertToState(clean);
        skip(ANSWER + 1);
        measure("slash unauthorized sequencing", judged, unauthorized());
    }

    function test_misallocation() public {
        SignedDelegation memory given = delegation(allocation());
        IRegistry.RegistrationProof memory shown = proof();
        SignedAuctionResult memory result = sign(resultOf(allocation()), relayKey);
        vm.prank(accuser);
        bytes32 id = slasher.accuseDelegation{value: BOND}(shown, given);
        vm.snapshotGasLastCall("OrderingSlasher", "accuse misallocation");
        uint256 clean = vm.snapshotState();
        slasher.answerResult(id, given, result);
        vm.snapshotGasLastCall("OrderingSlasher", "answer result");
        vm.revertToState(clean);
        skip(ANSWER + 1);
        registry.slashDelegation(shown, given, address(slasher), misallocation());
        vm.snapshotGasLastCall("OrderingSlasher", "slash misallocation");
    }

    /// The largest batch that pools take, of transactions of 120 bytes and of one alone: answered within what the calldata
    /// costs anyway, and far below what a transaction may use (EIP-7825).
    function test_theLargestAnswer() public {
        largest("answer constraint, 120 KiB of small transactions", transactions(634, 120));
        largest("answer constraint, 120 KiB in one transaction", transactions(1, 121_700));
    }

    function largest(string memory name, bytes[] memory txs) internal {
        uint256 clean = vm.snapshotState();
        bytes32 id = accuseMissed();
        bytes memory raw = encode(l1(batch(txs, 0, 2)));
        assertGt(raw.length, 119 * 1024);
        assertLe(raw.length, 120 * 1024);
        ConstraintAnswer memory given = answerOf(raw);
        bytes memory input = abi.encodeCall(slasher.answerConstraint, (id, given));
        // What pools take.
        assertLe(input.length, 128 * 1024 - 256);
        slasher.answerConstraint(id, given);
        uint256 used = vm.snapshotGasLastCall("OrderingSlasher", name);
        uint256 all = whole(input, used);
        assertLe(all, 16_777_216 / 2);
        vm.snapshotValue("OrderingSlasher", string.concat(name, ", whole transaction"), all);
        vm.revertToState(clean);
    }

    /// What an answer asks of a batch's gas is enough for `submit`, whatever the sizes.
    function testFuzz_theGasThatAnAnswerAsksForIsEnough(uint256 count, uint256 size) public {
        count = bound(count, 0, 60);
        size = bound(size, 0, count < 4 ? 30_000 : 500);
        bytes[] memory txs = transactions(count, size);
        bytes memory input = batch(txs, 0, 2);
        uint256 limit =
            slasher.ANSWER_JUDGE().BATCH_GAS() + slasher.ANSWER_JUDGE().BATCH_GAS_PER_BYTE() * input.length;
        // Every byte of the input as if it were not zero. From an account with code, which is logged besides.
        uint256 execution = limit - 21_000 - 16 * input.length;
        vm.prank(makeAddr("poster"), address(1));
        (bool taken,) = address(inbox).call{gas: execution}(input);
        assertTrue(taken);
        assertGe(limit, 21_000 + 40 * input.length);
    }

    function test_answerSmall() public {
        bytes32 id = accuseMissed();
        ConstraintAnswer memory given = goodAnswer();
        slasher.answerConstraint(id, given);
        vm.snapshotGasLastCall("OrderingSlasher", "answer constraint, 3 transactions of 120 bytes");
        bytes32 hash = keccak256(abi.encode(given.message));
        SignedConstraintReceipt memory dropped = sign(ConstraintReceipt(SLOT, hash, 1, 1), relayKey);
        uint256 clean = vm.snapshotState();
        slasher.rebut(id, dropped);
        vm.snapshotGasLastCall("OrderingSlasher", "rebut");
        vm.revertToState(clean);
        skip(ANSWER + 1);
        slasher.settleAnswer(id);
        vm.snapshotGasLastCall("OrderingSlasher", "settle answer");
    }

    function test_lapse() public {
        bytes32 id = accuseMissed();
        skip(ANSWER + CONCLUDE + 1);
        slasher.lapse(id);
        vm.snapshotGasLastCall("OrderingSlasher", "lapse");
        vm.prank(accuser);
        slasher.claimCredit();
        vm.snapshotGasLastCall("OrderingSlasher", "claim credit");
    }

    /// Here, since what coverage runs is not optimised.
    function test_itFitsAContract() public view {
        assertLe(address(slasher).code.length, 24_576);
        assertLe(address(slasher.ANSWER_JUDGE()).code.length, 24_576);
        assertLe(type(OrderingSlasher).creationCode.length + 10 * 32, 49_152);
    }
}
