// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Vm} from "forge-std/Vm.sol";
import {Inbox} from "../src/Inbox.sol";
import {Commitment, OrderingCommitment, SignedCommitment} from "../src/Objects.sol";
import {Signing} from "../src/Signing.sol";
import {SealFixture} from "./SealFixture.sol";

contract InboxTest is SealFixture {
    function test_recordsABatchUnderTheSealsCommitter() public {
        bytes[] memory txs = batch(3, 120);
        SignedCommitment memory signed = sealOf(txs);
        vm.expectEmit();
        emit Inbox.BatchRecorded(ROLLUP, SLOT, committer, 0, rootOf(txs), 3, 1_700_000_000);
        vm.prank(poster, poster);
        inbox.submit(txs, signed, "");

        Inbox.Record memory stored = inbox.record(ROLLUP, SLOT, 0, committer);
        assertEq(stored.txRoot, rootOf(txs));
        assertEq(stored.count, 3);
        assertEq(stored.time, 1_700_000_000);
        assertEq(stored.kind, 2);
        assertEq(inbox.record(ROLLUP, SLOT, 1, committer).time, 0);
        assertEq(inbox.record(ROLLUP, SLOT, 0, poster).time, 0);
        assertEq(inbox.record(ROLLUP + 1, SLOT, 0, committer).time, 0);
        assertEq(inbox.record(ROLLUP, SLOT + 1, 0, committer).time, 0);
    }

    function test_recordsAnEmptyWindow() public {
        bytes[] memory none = new bytes[](0);
        inbox.submit(none, sealOf(none), "");
        Inbox.Record memory stored = inbox.record(ROLLUP, SLOT, 0, committer);
        assertEq(stored.txRoot, 0);
        assertEq(stored.count, 0);
        assertEq(stored.time, 1_700_000_000);
        assertEq(stored.kind, 2);
    }

    function test_takesSegmentsInAnyOrder() public {
        bytes[] memory txs = batch(2, 40);
        inbox.submit(txs, sign(ordering(txs, 1, 2)), "");
        vm.warp(1_700_000_012);
        inbox.submit(txs, sign(ordering(txs, 0, 1)), "");
        assertEq(inbox.record(ROLLUP, SLOT, 1, committer).kind, 2);
        assertEq(inbox.record(ROLLUP, SLOT, 0, committer).kind, 1);
        assertEq(inbox.record(ROLLUP, SLOT, 0, committer).time, 1_700_000_012);
    }

    function test_theFirstRecordStands() public {
        bytes[] memory txs = batch(2, 40);
        bytes[] memory others = batch(5, 33);
        SignedCommitment memory first = sealOf(txs);
        inbox.submit(txs, first, "");
        vm.warp(1_700_000_012);
        vm.startPrank(poster, poster);
        vm.recordLogs();
        inbox.submit(txs, first, "");
        inbox.submit(others, sealOf(others), "");
        assertEq(vm.getRecordedLogs().length, 0);
        Inbox.Record memory stored = inbox.record(ROLLUP, SLOT, 0, committer);
        assertEq(stored.txRoot, rootOf(txs));
        assertEq(stored.time, 1_700_000_000);
    }

    function test_committersDoNotStandInEachOthersWay() public {
        bytes[] memory txs = batch(2, 40);
        (address rival, uint256 rivalKey) = makeAddrAndKey("rival");
        inbox.submit(
            txs, sign(Commitment(0x11, abi.encode(ordering(txs, 0, 2)), 0, address(0)), rivalKey), ""
        );
        assertEq(inbox.record(ROLLUP, SLOT, 0, committer).time, 0);
        inbox.submit(txs, sealOf(txs), "");
        assertGt(inbox.record(ROLLUP, SLOT, 0, committer).time, 0);
        assertGt(inbox.record(ROLLUP, SLOT, 0, rival).time, 0);
    }

    function test_anAuthorityCountsEvenAfterTheRecord() public {
        bytes[] memory txs = batch(1, 40);
        SignedCommitment memory signed = sealOf(txs);
        inbox.submit(txs, signed, "");
        vm.expectEmit();
        emit Inbox.AuthorityPosted(ROLLUP, SLOT, committer);
        inbox.submit(txs, signed, hex"0102");
    }

    function test_anAccountsInputIsTheCall() public {
        bytes[] memory txs = batch(1, 40);
        SignedCommitment memory signed = sealOf(txs);
        vm.prank(poster, poster);
        vm.recordLogs();
        inbox.submit(txs, signed, "");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1);
        assertEq(logs[0].topics[0], Inbox.BatchRecorded.selector);
    }

    function test_aContractsCallIsLogged() public {
        bytes[] memory txs = batch(2, 40);
        SignedCommitment memory signed = sealOf(txs);
        vm.expectEmit();
        emit Inbox.CallData(abi.encodeCall(inbox.submit, (txs, signed, hex"05")));
        vm.prank(makeAddr("contract"), poster);
        inbox.submit(txs, signed, hex"05");
        assertGt(inbox.record(ROLLUP, SLOT, 0, committer).time, 0);
    }

    function test_anAccountWithDelegatedCodeIsLogged() public {
        bytes[] memory txs = batch(2, 40);
        SignedCommitment memory signed = sealOf(txs);
        // EIP-7702: an origin whose input may have gone through code of its own.
        vm.etch(poster, hex"ef01001111111111111111111111111111111111111111");
        vm.expectEmit();
        emit Inbox.CallData(abi.encodeCall(inbox.submit, (txs, signed, "")));
        vm.prank(poster, poster);
        inbox.submit(txs, signed, "");
    }

    function test_takesAnySigningIdNonceAndSlasher() public {
        bytes[] memory txs = batch(1, 40);
        bytes32 signingId = keccak256("another");
        Commitment memory message =
            Commitment(0x11, abi.encode(ordering(txs, 0, 1)), keccak256("request"), address(0xBEEF));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(committerKey, rootToSign(message, signingId, 7));
        inbox.submit(txs, SignedCommitment(message, 7, signingId, abi.encodePacked(r, s, v)), "");
        assertGt(inbox.record(ROLLUP, SLOT, 0, committer).time, 0);
    }

    function test_refusesOtherCommitments() public {
        bytes[] memory txs = batch(1, 40);
        SignedCommitment memory signed =
            sign(Commitment(0x12, abi.encode(ordering(txs, 0, 2)), 0, address(0)), committerKey);
        vm.expectRevert(abi.encodeWithSelector(Inbox.NotAnOrdering.selector, uint64(0x12)));
        inbox.submit(txs, signed, "");
    }

    function test_refusesAPayloadOfAnotherLength() public {
        bytes[] memory txs = batch(1, 40);
        bytes memory payload = abi.encodePacked(abi.encode(ordering(txs, 0, 2)), uint8(0));
        SignedCommitment memory signed = sign(Commitment(0x11, payload, 0, address(0)), committerKey);
        vm.expectRevert(abi.encodeWithSelector(Inbox.PayloadLength.selector, 353));
        inbox.submit(txs, signed, "");
    }

    function test_refusesAPayloadOutOfRange() public {
        bytes[] memory txs = batch(1, 40);
        bytes memory payload = abi.encode(ordering(txs, 0, 2));
        payload[64] = 0x01; // the segment's word no longer fits 16 bits
        SignedCommitment memory signed = sign(Commitment(0x11, payload, 0, address(0)), committerKey);
        vm.expectRevert(bytes(""));
        inbox.submit(txs, signed, "");
    }

    function test_refusesWhatIsNoSeal() public {
        bytes[] memory txs = batch(1, 40);
        uint8[3] memory kinds = [0, 3, 255];
        for (uint256 i = 0; i < kinds.length; ++i) {
            SignedCommitment memory signed = sign(ordering(txs, 0, kinds[i]));
            vm.expectRevert(abi.encodeWithSelector(Inbox.NotASeal.selector, kinds[i]));
            inbox.submit(txs, signed, "");
        }
    }

    function test_refusesASealWithTransactionsOfItsOwn() public {
        bytes[] memory txs = batch(1, 40);
        OrderingCommitment memory message = ordering(txs, 0, 1);
        message.txCount = 1;
        SignedCommitment memory signed = sign(message);
        vm.expectRevert(abi.encodeWithSelector(Inbox.SealWithTransactions.selector, uint32(1)));
        inbox.submit(txs, signed, "");
    }

    function test_refusesAnotherCount() public {
        bytes[] memory txs = batch(2, 40);
        OrderingCommitment memory message = ordering(txs, 0, 1);
        message.firstIndex = 3;
        SignedCommitment memory signed = sign(message);
        vm.expectRevert(abi.encodeWithSelector(Inbox.CountMismatch.selector, 3, 2));
        inbox.submit(txs, signed, "");
    }

    function test_refusesOtherTransactions() public {
        bytes[] memory txs = batch(2, 40);
        SignedCommitment memory signed = sealOf(txs);
        bytes32 promised = rootOf(txs);
        (txs[0], txs[1]) = (txs[1], txs[0]);
        vm.expectRevert(abi.encodeWithSelector(Inbox.RootMismatch.selector, promised, rootOf(txs)));
        inbox.submit(txs, signed, "");
    }

    function test_refusesBadSignatures() public {
        bytes[] memory txs = batch(1, 40);
        SignedCommitment memory good = sealOf(txs);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(committerKey, rootToSign(good.commitment, good.signingId, good.nonce));
        bytes32 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes32 highS = bytes32(uint256(order) - uint256(s));
        bytes[6] memory bad = [
            bytes(""),
            abi.encodePacked(r, s),
            abi.encodePacked(r, s, v, v),
            abi.encodePacked(r, s, v - 27),
            abi.encodePacked(r, highS, v == 27 ? uint8(28) : uint8(27)),
            abi.encodePacked(bytes32(0), s, v)
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            good.signature = bad[i];
            vm.expectRevert(Inbox.BadSignature.selector);
            inbox.submit(txs, good, "");
        }
        good.signature = abi.encodePacked(r, s, v);
        inbox.submit(txs, good, "");
    }

    function test_anotherChainsSealRecordsSomebodyElse() public {
        bytes[] memory txs = batch(1, 40);
        SignedCommitment memory signed = sealOf(txs);
        vm.chainId(block.chainid + 1);
        inbox.submit(txs, signed, "");
        assertEq(inbox.record(ROLLUP, SLOT, 0, committer).time, 0);
    }

    /// forge-config: default.fuzz.runs = 128
    function testFuzz_recordsWhatWasSealed(
        bytes[] memory txs,
        uint64 rollup,
        uint64 slot,
        uint16 segment,
        uint256 key
    ) public {
        key = bound(key, 1, 2 ** 128);
        OrderingCommitment memory message = ordering(txs, segment, 1);
        message.rollupId = rollup;
        message.slot = slot;
        inbox.submit(txs, sign(Commitment(0x11, abi.encode(message), 0, address(0)), key), "");
        Inbox.Record memory stored = inbox.record(rollup, slot, segment, vm.addr(key));
        assertEq(stored.txRoot, rootOf(txs));
        assertEq(stored.count, txs.length);
        assertEq(stored.kind, 1);
    }

    function testFuzz_aChangedByteIsNoticed(uint8 count, uint256 which, uint256 place, uint8 change) public {
        bytes[] memory txs = batch(bound(count, 1, 20), 64);
        SignedCommitment memory signed = sealOf(txs);
        which = bound(which, 0, txs.length - 1);
        place = bound(place, 0, 63);
        txs[which][place] = bytes1(uint8(txs[which][place]) ^ uint8(bound(change, 1, 255)));
        vm.expectPartialRevert(Inbox.RootMismatch.selector);
        inbox.submit(txs, signed, "");
    }

    function test_queuesForcedTransactions() public {
        bytes memory transaction = hex"02f86b";
        vm.expectEmit();
        emit Inbox.ForcedInclusionQueued(ROLLUP, 0, keccak256(transaction), 1_700_000_000, transaction);
        assertEq(inbox.enqueue(ROLLUP, transaction), 0);
        vm.warp(1_700_000_012);
        assertEq(inbox.enqueue(ROLLUP, hex"01"), 1);
        assertEq(inbox.enqueue(ROLLUP + 1, hex"02"), 0);
        assertEq(inbox.forcedHead(ROLLUP), 2);
        assertEq(inbox.forcedHead(ROLLUP + 1), 1);
        assertEq(inbox.forcedHead(ROLLUP + 2), 0);
        assertEq(inbox.forcedItem(ROLLUP, 0).txHash, keccak256(transaction));
        assertEq(inbox.forcedItem(ROLLUP, 0).time, 1_700_000_000);
        assertEq(inbox.forcedItem(ROLLUP, 1).time, 1_700_000_012);
        assertEq(inbox.forcedItem(ROLLUP, 2).txHash, 0);
    }

    function test_refusesForcedTransactionsOfBadLength() public {
        uint256 most = inbox.MAX_FORCED_BYTES();
        vm.expectRevert(abi.encodeWithSelector(Inbox.ForcedLength.selector, 0));
        inbox.enqueue(ROLLUP, "");
        bytes memory long = new bytes(most + 1);
        vm.expectRevert(abi.encodeWithSelector(Inbox.ForcedLength.selector, most + 1));
        inbox.enqueue(ROLLUP, long);
        inbox.enqueue(ROLLUP, new bytes(most));
        assertEq(inbox.forcedHead(ROLLUP), 1);
    }

    function testFuzz_theHeadAtATimeCountsWhatWasQueuedByThen(uint8[] memory gaps, uint64 asked) public {
        uint64 now_ = 1_700_000_000;
        uint64 expected = 0;
        asked = uint64(bound(asked, now_ - 10, now_ + 255 * 20));
        uint256 items = gaps.length < 20 ? gaps.length : 20;
        for (uint256 i = 0; i < items; ++i) {
            now_ += gaps[i];
            vm.warp(now_);
            inbox.enqueue(ROLLUP, hex"aa");
            if (now_ <= asked) ++expected;
        }
        assertEq(inbox.forcedHeadAt(ROLLUP, asked), expected);
    }

    function test_theDomainIsTheNetworks() public view {
        assertEq(inbox.SIGNING_DOMAIN(), Signing.domain(GENESIS_FORK_VERSION));
        assertEq(inbox.ORDERING(), 0x11);
    }
}
