// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ConstraintAnswer} from "../src/Evidence.sol";
import {Inbox} from "../src/Inbox.sol";
import {
    AuctionResult,
    Constraint,
    ConstraintReceipt,
    ConstraintsMessage,
    DelegationReceipt,
    G1Point,
    InclusionPayload,
    OrderingCommitment,
    SignedAuctionResult,
    SignedCommitment,
    SignedConstraintReceipt,
    SignedDelegation,
    SignedDelegationReceipt,
    SlotAllocation
} from "../src/Objects.sol";
import {IOrderingSlasher} from "../src/interfaces/IOrderingSlasher.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {AnswerJudge} from "../src/judge/AnswerJudge.sol";
import {SlasherFixture} from "./SlasherFixture.sol";

/// What clears the accused, and what only looks like it.
contract SlasherAnswersTest is SlasherFixture {
    bytes32 private _id;

    function missed() internal returns (bytes32) {
        _id = accuseMissed();
        return _id;
    }

    function answer(ConstraintAnswer memory given) internal {
        vm.prank(answerer);
        slasher.answerConstraint(_id, given);
    }

    function bad(string memory reason, ConstraintAnswer memory given) internal {
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.BadAnswer.selector, reason));
        vm.prank(answerer);
        slasher.answerConstraint(_id, given);
        assertEq(uint8(statusOf(_id)), uint8(IOrderingSlasher.Status.Open));
    }

    function wrongStatus(IOrderingSlasher.Status status) internal {
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.WrongStatus.selector, status));
    }

    // ---- MissedWindow.

    function test_theRelayHeldTheBatch() public {
        missed();
        ConstraintAnswer memory given = goodAnswer();
        uint48 until = uint48(block.timestamp + ANSWER);
        vm.expectEmit(address(slasher));
        emit IOrderingSlasher.AccusationAnswered(_id, answerer, until);
        answer(given);
        IOrderingSlasher.Accusation memory open = slasher.getAccusation(_id);
        assertEq(uint8(open.status), uint8(IOrderingSlasher.Status.Answered));
        assertEq(open.answerer, answerer);
        assertEq(open.deadline, until);
        assertEq(open.constraintsHash, keccak256(abi.encode(given.message)));
        // The batch is on L1 now.
        Inbox.Record memory stored = inbox.record(ROLLUP, SLOT, 0, committer);
        assertEq(stored.count, 3);
        assertEq(stored.time, block.timestamp);

        innocent(sign(microblock()), missedWindow(0), IOrderingSlasher.NotAccused.selector);
        wrongStatus(IOrderingSlasher.Status.Answered);
        slasher.lapse(_id);
        wrongStatus(IOrderingSlasher.Status.Answered);
        slasher.answerConstraint(_id, given);
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.TooEarly.selector, until));
        slasher.settleAnswer(_id);
        vm.warp(until + 1);
        vm.expectEmit(address(slasher));
        emit IOrderingSlasher.AccusationClosed(_id, answerer, BOND);
        slasher.settleAnswer(_id);
        assertEq(slasher.credit(answerer), BOND);
        assertEq(slasher.credit(accuser), 0);
        wrongStatus(IOrderingSlasher.Status.Closed);
        slasher.settleAnswer(_id);
        innocent(sign(microblock()), missedWindow(0), IOrderingSlasher.NotAccused.selector);
        // Answered for good.
        SignedCommitment memory judged = sign(microblock());
        vm.expectRevert(IOrderingSlasher.AlreadyAccused.selector);
        vm.prank(accuser);
        slasher.accuse{value: BOND}(root, judged, missedWindow(0));
        // The lock is gone.
        vm.prank(address(slasher));
        vm.expectRevert(IRegistry.NotLocked.selector);
        registry.freeCollateral(root);
    }

    function test_answeredInTime() public {
        missed();
        ConstraintAnswer memory given = goodAnswer();
        uint256 deadline = block.timestamp + ANSWER;
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.TooLate.selector, deadline));
        slasher.answerConstraint(_id, given);
        vm.warp(deadline);
        answer(given);
    }

    function test_oneConstraintOfSeveral() public {
        missed();
        ConstraintsMessage memory message = messageOf(encode(l1(batch(transactions(1, 50), 0, 1))));
        Constraint memory batch_ = message.constraints[0];
        message.constraints = new Constraint[](3);
        message.constraints[0] = Constraint(7, hex"0102");
        message.constraints[1] = batch_;
        message.constraints[2] = Constraint(1, hex"");
        message.receivers = new G1Point[](1);
        message.receivers[0] = publicKey(9);
        ConstraintAnswer memory given = answerOf(message, 0, 1);
        bad("constraint", given);
        given.index = 2;
        bad("constraint", given);
        given.index = 3;
        bad("index", given);
        given.index = 1;
        answer(given);
    }

    function test_anyFormOfReceipt() public {
        missed();
        ConstraintAnswer memory given = goodAnswer();
        ConstraintReceipt memory receipt = given.receipt.receipt;
        bytes32 object = keccak256(abi.encode(uint256(0x104), receipt));
        bytes32 id = keccak256("other id");
        given.receipt = SignedConstraintReceipt(receipt, 5, id, ecdsa(object, id, 5, relayKey));
        answer(given);
    }

    function test_theReceiptIsTheRelays() public {
        missed();
        ConstraintAnswer memory given = goodAnswer();
        ConstraintReceipt memory receipt = given.receipt.receipt;
        given.receipt = sign(receipt, rivalKey);
        bad("relay", given);
        given.receipt.signature = hex"";
        bad("relay", given);
        receipt.status = 1;
        given.receipt = sign(receipt, relayKey);
        bad("status", given);
        receipt.status = 2;
        given.receipt = sign(receipt, relayKey);
        bad("status", given);
        receipt.status = 0;
        receipt.slot = SLOT + 1;
        given.receipt = sign(receipt, relayKey);
        bad("slot", given);
        receipt.slot = SLOT;
        receipt.constraintsHash = keccak256("another");
        given.receipt = sign(receipt, relayKey);
        bad("hash", given);
        receipt.constraintsHash = keccak256(abi.encode(given.message));
        receipt.receivedAtMs = uint64(START * 1000 - CUTOFF_MS);
        given.receipt = sign(receipt, relayKey);
        bad("late", given);
        receipt.receivedAtMs -= 1;
        given.receipt = sign(receipt, relayKey);
        answer(given);
    }

    function test_aRollupWithoutTermsHasNoRelay() public {
        OrderingCommitment memory ordering = microblock();
        ordering.rollupId = 1;
        _id = accuse(sign(ordering), missedWindow(0));
        OrderingCommitment memory sealing = sealOf(7, hashes(0, 0), 2);
        sealing.rollupId = 1;
        bytes memory input = abi.encodeCall(Inbox.submit, (new bytes[](0), sign(sealing), ""));
        ConstraintAnswer memory given = answerOf(encode(l1(input)));
        given.receipt.signature = hex"";
        bad("relay", given);
    }

    function test_theMessageIsOfTheSlot() public {
        missed();
        ConstraintsMessage memory message = messageOf(encode(l1(batch(transactions(1, 50), 0, 1))));
        message.slot = SLOT + 1;
        bad("slot", answerOf(message, 0, 1));
        message.slot = SLOT;
        ConstraintAnswer memory given = answerOf(message, 0, 1);
        given.message.receivers = new G1Point[](1);
        bad("hash", given);
    }

    function test_theConstraintsPayload() public {
        missed();
        bytes memory raw = encode(l1(batch(transactions(1, 50), 0, 1)));
        bytes memory good = abi.encode(InclusionPayload(SLOT, raw));
        ConstraintsMessage memory message = messageOf(raw);
        message.constraints[0].payload = abi.encode(InclusionPayload(SLOT + 1, raw));
        bad("slot", answerOf(message, 0, 1));
        for (uint256 word = 0; word < 4; ++word) {
            message.constraints[0].payload = bytes.concat(good);
            message.constraints[0].payload[32 * word + 30] ^= 0x10;
            bad(word == 1 ? "slot" : "constraint", answerOf(message, 0, 1));
        }
        message.constraints[0].payload = bytes.concat(good, bytes32(0));
        bad("constraint", answerOf(message, 0, 1));
        message.constraints[0].payload = bytes.concat(good);
        message.constraints[0].payload[good.length - 1] = 0x01;
        assertTrue(raw.length % 32 != 0);
        bad("constraint", answerOf(message, 0, 1));
        message.constraints[0].payload = hex"0011";
        bad("constraint", answerOf(message, 0, 1));
        message.constraints[0].payload = good;
        message.constraints[0].constraintType = 2;
        bad("constraint", answerOf(message, 0, 1));
        message.constraints[0].constraintType = 1;
        answer(answerOf(message, 0, 1));
    }

    function test_theTransactionCallsTheInbox() public {
        missed();
        bytes memory input = batch(transactions(1, 50), 0, 1);
        L1 memory message = l1(input);
        message.chainId += 1;
        bad("transaction", answerOf(encode(message)));
        message = l1(input);
        message.to = address(slasher);
        bad("transaction", answerOf(encode(message)));
        message = l1(input);
        message.value = 1;
        bad("transaction", answerOf(encode(message)));
        message = l1(input);
        bytes[] memory list = new bytes[](1);
        list[0] = hex"c0";
        message.accessList = rlpList(list);
        bad("transaction", answerOf(encode(message)));
        bytes memory raw = encode(l1(input));
        raw[0] = 0x01;
        bad("transaction", answerOf(raw));
        bad("transaction", answerOf(hex""));
        message = l1(input);
        message.input = abi.encodeCall(Inbox.enqueue, (ROLLUP, input));
        bad("batch", answerOf(encode(message)));
        message.input = hex"0102";
        bad("batch", answerOf(encode(message)));
        message.input = hex"";
        bad("batch", answerOf(encode(message)));
        answer(answerOf(encode(l1(input))));
    }

    /// A batch that L1 would have included, and that would have failed there for want of gas.
    function test_theTransactionHasGas() public {
        missed();
        bytes memory input = batch(transactions(5, 300), 0, 1);
        L1 memory message = l1(input);
        AnswerJudge judge = slasher.ANSWER_JUDGE();
        message.gasLimit = judge.BATCH_GAS() + judge.BATCH_GAS_PER_BYTE() * input.length - 1;
        bad("gas", answerOf(encode(message)));
        message.gasLimit += 1;
        answer(answerOf(encode(message)));
    }

    /// A batch that L1 would have included, and that the Inbox would have refused: held by the relay, and no record.
    function test_theBatchIsOne() public {
        missed();
        bytes[] memory txs = transactions(3, 100);
        bytes memory input = batch(txs, 0, 1);
        txs[1][7] ^= 0x01;
        OrderingCommitment memory sealing = sealOf(7, hashes(0, 3), 1);
        bad("batch", answerOf(encode(l1(abi.encodeCall(Inbox.submit, (txs, sign(sealing), ""))))));
        bad("batch", answerOf(encode(l1(bytes.concat(input, hex"00")))));
        sealing = microblock();
        bad("batch", answerOf(encode(l1(abi.encodeCall(Inbox.submit, (txs, sign(sealing), ""))))));
        assertEq(inbox.record(ROLLUP, SLOT, 0, committer).time, 0);
    }

    function test_theSealIsTheSegments() public {
        missed();
        bytes[] memory txs = transactions(3, 100);
        bad("place", answerOf(encode(l1(batch(txs, 1, 1)))));
        OrderingCommitment memory sealing = sealOf(7, hashesOf(txs), 1);
        sealing.slot = SLOT - 1;
        bad("place", answerOf(encode(l1(abi.encodeCall(Inbox.submit, (txs, sign(sealing), ""))))));
        sealing.slot = SLOT;
        sealing.rollupId = OTHER_ROLLUP;
        bad("place", answerOf(encode(l1(abi.encodeCall(Inbox.submit, (txs, sign(sealing), ""))))));
        sealing.rollupId = ROLLUP;
        SignedCommitment memory foreign = sign(commitmentOf(abi.encode(sealing), 0x11), rivalKey);
        bad("committer", answerOf(encode(l1(abi.encodeCall(Inbox.submit, (txs, foreign, ""))))));
        foreign.commitment.slasher = address(inbox);
        foreign = sign(foreign.commitment, committerKey);
        bad("slasher", answerOf(encode(l1(abi.encodeCall(Inbox.submit, (txs, foreign, ""))))));
        // With an authority, whatever it is.
        answer(answerOf(encode(l1(abi.encodeCall(Inbox.submit, (txs, sign(sealing), hex"0102"))))));
    }

    function test_anEmptySegmentIsABatchToo() public {
        missed();
        answer(answerOf(encode(l1(batch(new bytes[](0), 0, 2)))));
    }

    function test_theInboxMayHaveItMeanwhile() public {
        missed();
        (bool taken,) = address(inbox).call(batch(transactions(3, 120), 0, 2));
        assertTrue(taken);
        answer(goodAnswer());
    }

    // ---- Rebuttals.

    function droppedReceipt(bytes32 hash) internal view returns (SignedConstraintReceipt memory) {
        return sign(ConstraintReceipt(SLOT, hash, 1, 1), relayKey);
    }

    function badRebuttal(string memory reason, SignedConstraintReceipt memory dropped) internal {
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.BadAnswer.selector, reason));
        slasher.rebut(_id, dropped);
    }

    function test_theRelayDroppedIt() public {
        missed();
        uint256 deadline = block.timestamp + ANSWER;
        ConstraintAnswer memory given = goodAnswer();
        bytes32 hash = keccak256(abi.encode(given.message));
        SignedConstraintReceipt memory dropped = droppedReceipt(hash);
        wrongStatus(IOrderingSlasher.Status.Open);
        slasher.rebut(_id, dropped);
        answer(given);
        badRebuttal("status", given.receipt);
        badRebuttal("hash", droppedReceipt(keccak256("another")));
        badRebuttal("relay", sign(dropped.receipt, rivalKey));
        dropped.receipt.slot = SLOT + 1;
        badRebuttal("slot", sign(dropped.receipt, relayKey));
        dropped = droppedReceipt(hash);
        vm.expectEmit(address(slasher));
        emit IOrderingSlasher.AnswerRebutted(_id, stranger);
        vm.prank(stranger);
        slasher.rebut(_id, dropped);
        IOrderingSlasher.Accusation memory open = slasher.getAccusation(_id);
        assertEq(uint8(open.status), uint8(IOrderingSlasher.Status.Open));
        assertEq(open.answerer, address(0));
        assertEq(open.constraintsHash, 0);
        // What was left of the time to answer is left, for another answer.
        assertEq(open.deadline, deadline);
        bad("dropped", given);
        given = answerOf(encode(l1(batch(transactions(3, 119), 0, 2))));
        answer(given);
        slasher.rebut(_id, droppedReceipt(keccak256(abi.encode(given.message))));
        vm.warp(deadline + 1);
        assertEq(slash(sign(microblock()), missedWindow(0)), SAFETY);
        assertEq(slasher.credit(accuser), BOND);
    }

    /// A stranger that answers with what the relay dropped, and rebuts that when the time to answer is over, takes no time
    /// from the accused: it answers besides.
    function test_aStrangersAnswerIsNoTrap() public {
        missed();
        ConstraintAnswer memory bad_ = goodAnswer();
        ConstraintAnswer memory good = answerOf(encode(l1(batch(transactions(3, 119), 0, 2))));
        bytes32 badHash = keccak256(abi.encode(bad_.message));
        bytes32 goodHash = keccak256(abi.encode(good.message));
        SignedConstraintReceipt memory dropped = droppedReceipt(badHash);
        uint256 clean = vm.snapshotState();
        vm.prank(stranger);
        slasher.answerConstraint(_id, bad_);
        skip(1 hours);
        answer(good);
        assertEq(slasher.getAccusation(_id).deadline, block.timestamp + ANSWER);
        wrongStatus(IOrderingSlasher.Status.Answered);
        slasher.answerConstraint(_id, bad_);
        wrongStatus(IOrderingSlasher.Status.Answered);
        slasher.answerConstraint(_id, good);
        badRebuttal("hash", dropped);
        skip(ANSWER + 1);
        slasher.settleAnswer(_id);
        assertEq(slasher.credit(answerer), BOND);

        // Nor if it answers last.
        vm.revertToState(clean);
        answer(good);
        skip(ANSWER);
        vm.prank(stranger);
        slasher.answerConstraint(_id, bad_);
        skip(ANSWER);
        slasher.rebut(_id, dropped);
        IOrderingSlasher.Accusation memory open = slasher.getAccusation(_id);
        assertEq(uint8(open.status), uint8(IOrderingSlasher.Status.Answered));
        assertEq(open.constraintsHash, goodHash);
        assertEq(open.answerer, answerer);
        uint256 last = vm.snapshotState();
        skip(1);
        slasher.settleAnswer(_id);
        assertEq(slasher.credit(answerer), BOND);

        // If both were dropped, nothing stands.
        vm.revertToState(last);
        slasher.rebut(_id, droppedReceipt(goodHash));
        assertEq(uint8(statusOf(_id)), uint8(IOrderingSlasher.Status.Open));
        assertEq(slash(sign(microblock()), missedWindow(0)), SAFETY);
    }

    function test_droppedOnceDroppedForAll() public {
        missed();
        ConstraintsMessage memory message = messageOf(encode(l1(batch(transactions(3, 120), 0, 1))));
        Constraint memory first = message.constraints[0];
        message.constraints = new Constraint[](2);
        message.constraints[0] = first;
        bytes memory second = encode(l1(batch(transactions(3, 120), 1, 2)));
        message.constraints[1] = Constraint(1, abi.encode(InclusionPayload(SLOT, second)));
        answer(answerOf(message, 0, 1));
        slasher.rebut(_id, droppedReceipt(keccak256(abi.encode(message))));
        OrderingCommitment memory ordering = microblock();
        ordering.segment = 1;
        _id = accuse(sign(ordering), missedWindow(0));
        ConstraintAnswer memory given = answerOf(message, 0, 1);
        given.index = 1;
        bad("dropped", given);
    }

    /// A last-minute answer that is rebutted at the last minute leaves no time for another: not even within the block.
    function test_aLateRebuttalIsTheEnd() public {
        missed();
        ConstraintAnswer memory given = goodAnswer();
        ConstraintAnswer memory another = answerOf(encode(l1(batch(transactions(3, 119), 0, 2))));
        skip(ANSWER);
        answer(given);
        uint256 until = block.timestamp + ANSWER;
        SignedConstraintReceipt memory dropped = droppedReceipt(keccak256(abi.encode(given.message)));
        uint256 clean = vm.snapshotState();
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.TooLate.selector, until));
        slasher.rebut(_id, dropped);
        vm.revertToState(clean);
        vm.warp(until);
        slasher.rebut(_id, dropped);
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.TooLate.selector, until - ANSWER));
        slasher.answerConstraint(_id, another);
        // It can be concluded as long as any.
        vm.warp(until - 1 + CONCLUDE);
        assertEq(slash(sign(microblock()), missedWindow(0)), SAFETY);
    }

    // ---- UnauthorizedSequencing.

    function sequenced() internal {
        _id = accuse(sign(microblock()), unauthorized());
    }

    function badDelegation(
        string memory reason,
        SignedDelegation memory given,
        SignedDelegationReceipt memory receipt
    ) internal {
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.BadAnswer.selector, reason));
        slasher.answerDelegation(_id, given, receipt);
        assertEq(uint8(statusOf(_id)), uint8(IOrderingSlasher.Status.Open));
    }

    function test_theDelegationNamesTheSigner() public {
        sequenced();
        SignedDelegation memory given = delegation(allocation());
        SignedDelegationReceipt memory receipt = receiptOf(given, allocation().startMs - 1);
        vm.expectEmit(address(slasher));
        emit IOrderingSlasher.AccusationAnswered(_id, answerer, 0);
        vm.prank(answerer);
        slasher.answerDelegation(_id, given, receipt);
        assertEq(uint8(statusOf(_id)), uint8(IOrderingSlasher.Status.Closed));
        assertEq(slasher.credit(answerer), BOND);
        vm.prank(address(slasher));
        vm.expectRevert(IRegistry.NotLocked.selector);
        registry.freeCollateral(root);
        skip(ANSWER + 1);
        innocent(sign(microblock()), unauthorized(), IOrderingSlasher.NotAccused.selector);
        wrongStatus(IOrderingSlasher.Status.Closed);
        slasher.answerDelegation(_id, given, receipt);
        SignedCommitment memory judged = sign(microblock());
        vm.expectRevert(IOrderingSlasher.AlreadyAccused.selector);
        vm.prank(accuser);
        slasher.accuse{value: BOND}(root, judged, unauthorized());
    }

    function test_theDelegationIsInTime() public {
        sequenced();
        SignedDelegation memory given = delegation(allocation());
        SignedDelegationReceipt memory receipt = receiptOf(given, allocation().startMs);
        badDelegation("received late", given, receipt);
        receipt = receiptOf(given, allocation().startMs - 1);
        uint256 deadline = block.timestamp + ANSWER;
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.TooLate.selector, deadline));
        slasher.answerDelegation(_id, given, receipt);
        vm.warp(deadline);
        slasher.answerDelegation(_id, given, receipt);
    }

    function test_theDelegationHasAnEntryForIt() public {
        sequenced();
        SlotAllocation memory message = allocation();
        message.entries[0].rollupId = 77;
        SignedDelegation memory given = delegation(message);
        badDelegation("entry", given, receiptOf(given, 1));
        message = allocation();
        (message.entries[0].committer, message.entries[1].committer) = (rival, committer);
        given = delegation(message);
        badDelegation("entry", given, receiptOf(given, 1));
        message.slot = SLOT + 1;
        given = delegation(message);
        badDelegation("allocation's slot", given, receiptOf(given, 1));
        given = sign(delegationOf(""), PROPOSER);
        badDelegation("metadata", given, receiptOf(given, 1));
        given = delegation(allocation());
        given.delegation.slot = SLOT + 1;
        badDelegation("delegation's slot", given, receiptOf(given, 1));
    }

    function test_theDelegationIsSigned() public {
        sequenced();
        SignedDelegation memory given = delegation(allocation());
        SignedDelegationReceipt memory receipt = receiptOf(given, 1);
        SignedDelegation memory forged = sign(given.delegation, PROPOSER + 1);
        badDelegation("proposer's signature", forged, receipt);
        DelegationReceipt memory word = receipt.receipt;
        badDelegation("relay's signature", given, sign(word, rivalKey));
        word.slot = SLOT + 1;
        badDelegation("receipt's slot", given, sign(word, relayKey));
        word.slot = SLOT;
        word.delegationHash = keccak256("another");
        badDelegation("receipt's hash", given, sign(word, relayKey));
        SignedAuctionResult memory result = sign(resultOf(allocation()), relayKey);
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.BadAnswer.selector, "fault"));
        slasher.answerResult(_id, given, result);
        ConstraintAnswer memory other = goodAnswer();
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.BadAnswer.selector, "fault"));
        slasher.answerConstraint(_id, other);
        slasher.answerDelegation(_id, given, receiptOf(given, 1));
    }

    // ---- Misallocation.

    function misallocated(SignedDelegation memory given) internal {
        IRegistry.RegistrationProof memory shown = proof();
        vm.prank(accuser);
        _id = slasher.accuseDelegation{value: BOND}(shown, given);
    }

    function badResult(string memory reason, SignedDelegation memory given, SignedAuctionResult memory result)
        internal
    {
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.BadAnswer.selector, reason));
        slasher.answerResult(_id, given, result);
        assertEq(uint8(statusOf(_id)), uint8(IOrderingSlasher.Status.Open));
    }

    function test_theResultStatesTheAllocation() public {
        SignedDelegation memory given = delegation(allocation());
        misallocated(given);
        AuctionResult memory result = resultOf(allocation());
        badResult("relay", given, sign(result, rivalKey));
        SignedAuctionResult memory unsigned = sign(result, relayKey);
        unsigned.signature = hex"00";
        badResult("relay", given, unsigned);
        result.slot = SLOT + 1;
        badResult("slot", given, sign(result, relayKey));
        result.slot = SLOT;
        result.allocationHash = keccak256("another");
        badResult("hash", given, sign(result, relayKey));
        result = resultOf(allocation());
        SlotAllocation memory other = allocation();
        other.startMs -= 1;
        badResult("delegation", delegation(other), sign(result, relayKey));
        SignedAuctionResult memory good = sign(result, relayKey);
        vm.prank(answerer);
        slasher.answerResult(_id, given, good);
        assertEq(uint8(statusOf(_id)), uint8(IOrderingSlasher.Status.Closed));
        assertEq(slasher.credit(answerer), BOND);
        skip(ANSWER + 1);
        IRegistry.RegistrationProof memory shown = proof();
        vm.expectRevert(IOrderingSlasher.NotAccused.selector);
        registry.slashDelegation(shown, given, address(slasher), misallocation());
    }

    /// Every entry's rollup must name the relay that signed.
    function test_theResultIsOfEveryRollupsRelay() public {
        vm.warp(START - 30 days);
        rollup(OTHER_ROLLUP, rival);
        vm.warp(START + 1 hours);
        SignedDelegation memory given = delegation(allocation());
        misallocated(given);
        badResult("relay", given, sign(resultOf(allocation()), relayKey));
        badResult("relay", given, sign(resultOf(allocation()), rivalKey));
    }

    // ---- The judge by itself.

    function test_theJudgeServesItsSlasherAlone() public {
        AnswerJudge judge = slasher.ANSWER_JUDGE();
        missed();
        // Anyone may ask; nothing comes of it.
        (address named, bytes32 hash) = judge.answerConstraint(_id, goodAnswer());
        assertEq(named, relay);
        assertTrue(hash != 0);
        assertEq(uint8(statusOf(_id)), uint8(IOrderingSlasher.Status.Open));
    }
}
