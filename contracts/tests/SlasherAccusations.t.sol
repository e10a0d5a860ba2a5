// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {
    AllocationEntry,
    BundleCommitment,
    Delegation,
    OrderingCommitment,
    SignedCommitment,
    SignedDelegation,
    SlotAllocation
} from "../src/Objects.sol";
import {OrderingSlasher} from "../src/OrderingSlasher.sol";
import {SlotClock} from "../src/SlotClock.sol";
import {IInbox} from "../src/interfaces/IInbox.sol";
import {IOrderingSlasher} from "../src/interfaces/IOrderingSlasher.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {SlasherFixture} from "./SlasherFixture.sol";

/// Takes its ether only if it is told to, and calls back.
contract Claimant {
    OrderingSlasher private immutable _SLASHER;
    bool public refuses;
    bool public reentered;

    constructor(OrderingSlasher slasher) {
        _SLASHER = slasher;
    }

    function refuse(bool refuses_) external {
        refuses = refuses_;
    }

    function accuse(bytes32 root, SignedCommitment calldata judged, bytes calldata evidence)
        external
        payable
        returns (bytes32)
    {
        return _SLASHER.accuse{value: msg.value}(root, judged, evidence);
    }

    function claim() external {
        _SLASHER.claimCredit();
    }

    receive() external payable {
        require(!refuses);
        try _SLASHER.claimCredit() {
            reentered = true;
        } catch {}
    }
}

/// The life of an accusation: brought, answered, rebutted, settled, concluded, lapsed; whose bond, whose lock.
contract SlasherAccusationsTest is SlasherFixture {
    function ordered() internal view returns (SignedCommitment memory) {
        return sign(microblock());
    }

    function segmentAt(uint16 segment) internal view returns (SignedCommitment memory) {
        OrderingCommitment memory ordering = microblock();
        ordering.segment = segment;
        return sign(ordering);
    }

    function record(uint16 segment, uint256 time) internal {
        uint256 now_ = block.timestamp;
        vm.warp(time);
        (bool taken,) = address(inbox).call(batch(transactions(3, 120), segment, 1));
        assertTrue(taken);
        vm.warp(now_);
    }

    function ripe() internal {
        vm.warp(block.timestamp + ANSWER + 1);
    }

    function refused(bytes4 why, SignedCommitment memory judged, bytes memory evidence) internal {
        refused(abi.encodePacked(why), judged, evidence);
    }

    function refused(bytes memory why, SignedCommitment memory judged, bytes memory evidence) internal {
        vm.expectRevert(why);
        vm.prank(accuser);
        slasher.accuse{value: BOND}(root, judged, evidence);
    }

    // ---- Accusing.

    function test_anAccusationPostsABondAndLocks() public {
        bytes32 expected = keccak256(abi.encode(uint8(6), committer, ROLLUP, SLOT, uint16(0)));
        uint48 deadline = uint48(block.timestamp + ANSWER);
        vm.expectEmit(address(slasher));
        emit IOrderingSlasher.Accused(expected, root, accuser, 6, ROLLUP, SLOT, deadline);
        bytes32 id = accuseMissed();
        assertEq(id, expected);
        assertEq(address(slasher).balance, BOND);
        IOrderingSlasher.Accusation memory open = slasher.getAccusation(id);
        assertEq(open.accuser, accuser);
        assertEq(open.bondWei, BOND);
        assertEq(uint8(open.status), uint8(IOrderingSlasher.Status.Open));
        assertEq(open.fault, 6);
        assertEq(open.deadline, deadline);
        assertEq(open.answerUntil, deadline);
        assertEq(open.answerer, address(0));
        assertEq(open.constraintsHash, 0);
        assertEq(open.registrationRoot, root);
        assertEq(open.judged, keccak256(abi.encode(microblock())));
        assertEq(open.signer, committer);
        assertEq(open.rollupId, ROLLUP);
        assertEq(open.segment, 0);
        assertEq(open.slot, SLOT);

        // The operator cannot leave with its collateral.
        vm.prank(owner);
        registry.unregister(root);
        vm.warp(block.timestamp + 8 days);
        vm.expectPartialRevert(IRegistry.CollateralIsLocked.selector);
        registry.claimCollateral(root);
        slasher.lapse(id);
        registry.claimCollateral(root);
    }

    function test_oneAccusationAtATime() public {
        accuseMissed();
        OrderingCommitment memory sibling = microblock();
        sibling.number = 9;
        refused(IOrderingSlasher.AlreadyAccused.selector, sign(sibling), missedWindow(0));
        // Another segment, another rollup and another fault are others.
        accuse(segmentAt(1), missedWindow(0));
        sibling.rollupId = OTHER_ROLLUP;
        accuse(sign(sibling), missedWindow(0));
        accuse(ordered(), unauthorized());
        refused(IOrderingSlasher.AlreadyAccused.selector, ordered(), unauthorized());
    }

    function test_theBondIsExact() public {
        SignedCommitment memory judged = ordered();
        bytes memory why = abi.encodeWithSelector(IOrderingSlasher.WrongBond.selector, uint256(BOND));
        vm.prank(accuser);
        vm.expectRevert(why);
        slasher.accuse{value: BOND - 1}(root, judged, missedWindow(0));
        vm.prank(accuser);
        vm.expectRevert(why);
        slasher.accuse{value: BOND + 1}(root, judged, missedWindow(0));
        IRegistry.RegistrationProof memory shown = proof();
        SignedDelegation memory given = delegation(allocation());
        vm.expectRevert(why);
        slasher.accuseDelegation(shown, given);
    }

    function test_onlyTheSignersOperator() public {
        SignedCommitment memory foreign = sign(commitmentOf(abi.encode(microblock()), 0x11), rivalKey);
        refused(IOrderingSlasher.NotOperator.selector, foreign, missedWindow(0));
        foreign.signature = hex"";
        refused(IOrderingSlasher.NotOperator.selector, foreign, missedWindow(0));
        vm.expectRevert(IOrderingSlasher.NotOperator.selector);
        slasher.accuse(bytes32(0), foreign, missedWindow(0));
        SignedCommitment memory judged = ordered();
        vm.expectRevert(IOrderingSlasher.NotOperator.selector);
        slasher.accuse(keccak256("another"), judged, missedWindow(0));
    }

    function test_onlyFaultsThatWait() public {
        bytes memory why = abi.encodeWithSelector(IOrderingSlasher.UnknownFault.selector, uint8(7));
        refused(why, ordered(), evidenceOf(7, ""));
        why = abi.encodeWithSelector(IOrderingSlasher.UnknownFault.selector, uint8(10));
        refused(why, ordered(), misallocation());
        refused(IOrderingSlasher.MalformedEvidence.selector, ordered(), evidenceOf(8, hex"00"));
        refused(IOrderingSlasher.MalformedEvidence.selector, ordered(), evidenceOf(6, ""));
        refused(IOrderingSlasher.MalformedEvidence.selector, ordered(), evidenceOf(6, abi.encode(1 << 16)));
        refused(IOrderingSlasher.NoSuchLeg.selector, ordered(), missedWindow(1));
    }

    function test_onlyAnOperatorThatIsLiable() public {
        SignedCommitment memory judged = ordered();
        vm.prank(owner);
        registry.optOutOfSlasher(root, address(slasher));
        uint256 clean = vm.snapshotState();
        accuse(judged, missedWindow(0));
        vm.revertToState(clean);
        vm.prank(owner);
        registry.unregister(root);
        vm.warp(START + EVIDENCE);
        accuse(judged, missedWindow(0));
        vm.revertToState(clean);
        // The registry's word; by then no evidence counts any more.
        vm.mockCallRevert(address(registry), abi.encodeCall(registry.lockCollateral, (root)), "not liable");
        refused(bytes("not liable"), judged, missedWindow(0));
    }

    // ---- MissedWindow.

    function test_missedWindowTakesTime() public {
        SignedCommitment memory judged = ordered();
        vm.warp(START);
        bytes memory why = abi.encodeWithSelector(IOrderingSlasher.TooEarly.selector, START);
        refused(why, judged, missedWindow(0));
        vm.expectRevert(why);
        slasher.check(judged, missedWindow(0));
        vm.warp(START + EVIDENCE + 1);
        why = abi.encodeWithSelector(IOrderingSlasher.TooLate.selector, START + EVIDENCE);
        refused(why, judged, missedWindow(0));
        vm.warp(START + EVIDENCE);
        accuse(judged, missedWindow(0));
    }

    function test_missedWindowNeedsAMiss() public {
        record(0, START);
        refused(IOrderingSlasher.RecordedInTime.selector, ordered(), missedWindow(0));
        // A later record is one too many slots late; another's is nobody's.
        record(1, START + 1);
        accuse(segmentAt(1), missedWindow(0));
    }

    function test_missedWindowUnanswered() public {
        bytes32 id = accuseMissed();
        SignedCommitment memory judged = ordered();
        bytes memory evidence = missedWindow(0);
        innocent(judged, evidence, IOrderingSlasher.NotAccused.selector);
        vm.warp(START + 1 hours + ANSWER);
        innocent(judged, evidence, IOrderingSlasher.NotAccused.selector);
        vm.warp(block.timestamp + 1);
        vm.expectEmit(address(slasher));
        emit IOrderingSlasher.AccusationClosed(id, accuser, BOND);
        guilty(judged, evidence);
        // Whoever concluded it, the accuser is rewarded, and has its bond.
        assertEq(accuser.balance, 1000 ether - BOND + uint256(SAFETY) * 20 / 100);
        assertEq(stranger.balance, 0);
        assertEq(registry.credit(revenue), uint256(SAFETY) * 30 / 100);
        assertEq(slasher.credit(accuser), BOND);
        assertTrue(slasher.wasJudged(committer, ROLLUP, SLOT, 6));
        vm.prank(accuser);
        slasher.claimCredit();
        assertEq(slasher.credit(accuser), 0);
        assertEq(address(slasher).balance, 0);
        // Once.
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        registry.slashCommitment(root, judged, evidence);
        refused(IOrderingSlasher.AlreadyJudged.selector, judged, evidence);
        vm.expectRevert(
            abi.encodeWithSelector(IOrderingSlasher.WrongStatus.selector, IOrderingSlasher.Status.Closed)
        );
        slasher.lapse(id);
    }

    function test_aLateRecordIsOnlyLate() public {
        accuseMissed();
        record(0, LAST);
        ripe();
        assertEq(slash(ordered(), missedWindow(0)), LIVENESS);
        assertTrue(slasher.wasJudged(committer, ROLLUP, SLOT, 6));
    }

    function test_aRecordAfterTheLastSlotIsNone() public {
        accuseMissed();
        record(0, LAST + 1);
        ripe();
        guilty(ordered(), missedWindow(0));
    }

    function test_concludedOnlyWhenTheLastSlotIsOver() public {
        vm.warp(START + 1);
        IOrderingSlasher.Config memory quick = config();
        quick.answerSeconds = 60;
        OrderingSlasher other =
            new OrderingSlasher(registry, rollups, IInbox(address(inbox)), FORK, GENESIS_MS, SLOT_MS, quick);
        slasher = other;
        vm.prank(owner);
        registry.optInToSlasher(root, address(other), committer);
        accuseMissed();
        vm.warp(LAST);
        innocent(ordered(), missedWindow(0), abi.encodeWithSelector(IOrderingSlasher.TooEarly.selector, LAST));
        uint256 clean = vm.snapshotState();
        vm.warp(LAST + CONCLUDE + 1);
        innocent(
            ordered(),
            missedWindow(0),
            abi.encodeWithSelector(IOrderingSlasher.TooLate.selector, LAST + CONCLUDE)
        );
        vm.revertToState(clean);
        vm.warp(LAST + CONCLUDE);
        guilty(ordered(), missedWindow(0));
    }

    function test_aBundlesLegIsMissed() public {
        BundleCommitment memory promised = bundle(3);
        bytes32 id = accuse(sign(promised), missedWindow(2));
        assertEq(slasher.getAccusation(id).segment, 2);
        // It is the segment that is accused: a microblock there tells the same.
        refused(IOrderingSlasher.AlreadyAccused.selector, segmentAt(2), missedWindow(0));
        refused(IOrderingSlasher.NoSuchLeg.selector, sign(promised), missedWindow(3));
        ripe();
        guilty(segmentAt(2), missedWindow(0));
    }

    function test_oneFaultForAllSegments() public {
        bytes32 first = accuseMissed();
        bytes32 second = accuse(segmentAt(1), missedWindow(0));
        ripe();
        guilty(ordered(), missedWindow(0));
        SignedCommitment memory other = segmentAt(1);
        vm.expectRevert(IOrderingSlasher.AlreadyJudged.selector);
        this.slashNow(other, missedWindow(0));
        // The other has nothing more to wait for.
        slasher.lapse(second);
        assertEq(slasher.credit(accuser), 2 * uint256(BOND));
        vm.expectPartialRevert(IOrderingSlasher.WrongStatus.selector);
        slasher.lapse(first);
    }

    function slashNow(SignedCommitment calldata judged, bytes calldata evidence) external {
        registry.slashCommitment(root, judged, evidence);
    }

    /// The cheap half of a fault, brought first by a friend, is no shield for the dear one.
    function test_theLesserPenaltyIsNoShield() public {
        bytes32 late = accuseMissed();
        record(0, START + 12);
        bytes32 never = accuse(segmentAt(1), missedWindow(0));
        bytes32 alsoLate = accuse(segmentAt(2), missedWindow(0));
        record(2, START + 24);
        ripe();
        assertEq(slash(ordered(), missedWindow(0)), LIVENESS);
        assertEq(uint8(statusOf(late)), uint8(IOrderingSlasher.Status.Closed));
        // Nothing more can come of the third, but of the second.
        slasher.lapse(alsoLate);
        vm.expectPartialRevert(IOrderingSlasher.TooEarly.selector);
        slasher.lapse(never);
        assertEq(slash(segmentAt(1), missedWindow(0)), SAFETY - LIVENESS);
        assertEq(collateral(), COLLATERAL - SAFETY);
        refused(IOrderingSlasher.AlreadyJudged.selector, segmentAt(3), missedWindow(0));
    }

    // ---- Lapse.

    function test_nobodyConcluded() public {
        bytes32 id = accuseMissed();
        uint256 until = block.timestamp + ANSWER + CONCLUDE;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.TooEarly.selector, until));
        slasher.lapse(id);
        vm.warp(until + 1);
        innocent(ordered(), missedWindow(0), abi.encodeWithSelector(IOrderingSlasher.TooLate.selector, until));
        vm.expectEmit(address(slasher));
        emit IOrderingSlasher.AccusationClosed(id, accuser, BOND);
        slasher.lapse(id);
        assertEq(slasher.credit(accuser), BOND);
        innocent(ordered(), missedWindow(0), IOrderingSlasher.NotAccused.selector);
        vm.expectRevert(IRegistry.NotLocked.selector);
        vm.prank(address(slasher));
        registry.freeCollateral(root);
    }

    /// A lapse is no acquittal, or a friend's accusation would be one.
    function test_whatLapsedCanBeAccusedAgain() public {
        IOrderingSlasher.Config memory quick = config();
        (quick.answerSeconds, quick.concludeSeconds) = (60, 60);
        vm.warp(START + 1);
        slasher =
            new OrderingSlasher(registry, rollups, IInbox(address(inbox)), FORK, GENESIS_MS, SLOT_MS, quick);
        vm.prank(owner);
        registry.optInToSlasher(root, address(slasher), committer);
        bytes32 id = accuseMissed();
        vm.warp(LAST + 61);
        slasher.lapse(id);
        assertEq(accuseMissed(), id);
        vm.warp(block.timestamp + 61);
        guilty(ordered(), missedWindow(0));
        assertEq(slasher.credit(accuser), 2 * uint256(BOND));
    }

    function test_lapseOfNothing() public {
        vm.expectRevert(
            abi.encodeWithSelector(IOrderingSlasher.WrongStatus.selector, IOrderingSlasher.Status.None)
        );
        slasher.lapse(keccak256("nothing"));
    }

    /// An accusation that nobody closed for a month must not free the lock of a later one.
    function test_anOldAccusationFreesNoLaterLock() public {
        assertEq(slasher.MAX_LOCK(), registry.MAX_LOCK());
        bytes32 old = accuseMissed();
        vm.warp(START + 31 days);
        uint64 later = SLOT + 31 * 7200;
        OrderingCommitment memory ordering = microblock();
        ordering.slot = later - 100;
        bytes32 id = accuse(sign(ordering), missedWindow(0));
        slasher.lapse(old);
        vm.prank(owner);
        registry.unregister(root);
        skip(8 days);
        vm.expectPartialRevert(IRegistry.CollateralIsLocked.selector);
        registry.claimCollateral(root);
        slasher.lapse(id);
        registry.claimCollateral(root);
    }

    // ---- UnauthorizedSequencing.

    function test_unauthorizedSequencing() public {
        bytes32 expected = keccak256(abi.encode(uint8(8), committer, ROLLUP, SLOT));
        assertEq(accuse(ordered(), unauthorized()), expected);
        innocent(ordered(), unauthorized(), IOrderingSlasher.NotAccused.selector);
        ripe();
        guilty(ordered(), unauthorized());
        assertTrue(slasher.wasJudged(committer, ROLLUP, SLOT, 8));
        assertEq(slasher.credit(accuser), BOND);
    }

    function test_unauthorizedBeforeTheSlot() public {
        vm.warp(START - 1 days);
        accuse(ordered(), unauthorized());
        ripe();
        guilty(ordered(), unauthorized());
    }

    function test_theReserveCommitterMaySequence() public {
        address other = makeAddr("other owner");
        bytes32 second = operator(PROPOSER + 1, other);
        skip(1 days);
        vm.prank(other);
        registry.optInToSlasher(second, address(slasher), reserve);
        SignedCommitment memory judged = sign(commitmentOf(abi.encode(microblock()), 0x11), reserveKey);
        vm.expectRevert(IOrderingSlasher.ReserveCommitter.selector);
        vm.prank(accuser);
        slasher.accuse{value: BOND}(second, judged, unauthorized());
        vm.expectRevert(IOrderingSlasher.ReserveCommitter.selector);
        slasher.check(judged, unauthorized());
    }

    /// Terms of a slot far ahead may name the signer only after it was accused.
    function test_theReserveCommitterOfLaterTerms() public {
        OrderingCommitment memory ordering = microblock();
        ordering.slot = SLOT + 50_000;
        bytes32 id = accuse(sign(ordering), unauthorized());
        reserve = committer;
        rollup(ROLLUP, relay);
        ripe();
        innocent(sign(ordering), unauthorized(), IOrderingSlasher.ReserveCommitter.selector);
        skip(CONCLUDE);
        slasher.lapse(id);
        refused(IOrderingSlasher.ReserveCommitter.selector, sign(ordering), unauthorized());
    }

    function test_unauthorizedNeedsAnOrdering() public {
        refused(IOrderingSlasher.NotAnOrdering.selector, sign(bundle(1)), unauthorized());
    }

    // ---- Misallocation.

    function accuseDelegation(SignedDelegation memory given) internal returns (bytes32) {
        IRegistry.RegistrationProof memory shown = proof();
        vm.prank(accuser);
        return slasher.accuseDelegation{value: BOND}(shown, given);
    }

    function refusedDelegation(bytes4 why, SignedDelegation memory given) internal {
        IRegistry.RegistrationProof memory shown = proof();
        vm.expectPartialRevert(why);
        vm.prank(accuser);
        slasher.accuseDelegation{value: BOND}(shown, given);
    }

    function slashDelegation(SignedDelegation memory given, bytes memory evidence)
        internal
        returns (uint256)
    {
        IRegistry.RegistrationProof memory shown = proof();
        vm.prank(stranger);
        return registry.slashDelegation(shown, given, address(slasher), evidence);
    }

    function innocentDelegation(bytes4 why, SignedDelegation memory given, bytes memory evidence) internal {
        IRegistry.RegistrationProof memory shown = proof();
        vm.expectPartialRevert(why);
        registry.slashDelegation(shown, given, address(slasher), evidence);
    }

    function test_misallocation() public {
        SignedDelegation memory given = delegation(allocation());
        bytes32 hash = keccak256(abi.encode(given.delegation));
        bytes32 id = accuseDelegation(given);
        assertEq(id, keccak256(abi.encode(uint8(10), hash, root)));
        address signer = address(bytes20(keccak256(abi.encode(given.delegation.proposer))));
        assertEq(slasher.getAccusation(id).signer, signer);
        assertEq(slasher.getAccusation(id).judged, hash);
        innocentDelegation(IOrderingSlasher.NotAccused.selector, given, misallocation());
        innocentDelegation(IOrderingSlasher.UnknownFault.selector, given, unauthorized());
        innocentDelegation(IOrderingSlasher.MalformedEvidence.selector, given, evidenceOf(10, hex"00"));
        refusedDelegation(IOrderingSlasher.AlreadyAccused.selector, given);
        ripe();
        vm.expectEmit(address(slasher));
        emit IOrderingSlasher.FaultJudged(10, signer, 0, SLOT, SAFETY);
        assertEq(slashDelegation(given, misallocation()), SAFETY);
        assertEq(collateral(), COLLATERAL - SAFETY);
        assertEq(accuser.balance, 1000 ether - BOND + uint256(SAFETY) * 20 / 100);
        assertEq(slasher.credit(accuser), BOND);
        // Nobody in particular is harmed.
        assertEq(registry.credit(revenue), 0);
        assertTrue(slasher.wasJudged(signer, 0, SLOT, 10));
        refusedDelegation(IOrderingSlasher.AlreadyJudged.selector, given);
    }

    function test_aDelegationThatAllocatesNothing() public {
        bytes4 why = IOrderingSlasher.NoEntries.selector;
        refusedDelegation(why, sign(delegationOf(""), PROPOSER));
        refusedDelegation(why, sign(delegationOf("something"), PROPOSER));
        SlotAllocation memory message = allocation();
        message.slot = SLOT + 1;
        refusedDelegation(why, delegation(message));
        message = allocation();
        message.entries = new AllocationEntry[](0);
        refusedDelegation(why, delegation(message));
        message = allocation();
        message.entries[1] = message.entries[0];
        refusedDelegation(why, delegation(message));
    }

    function test_aDelegationOfAnother() public {
        refusedDelegation(
            IRegistry.DelegationSignatureInvalid.selector,
            sign(delegationOf(abi.encode(uint8(1), allocation())), PROPOSER + 1)
        );
        Delegation memory other = delegationOf(abi.encode(uint8(1), allocation()));
        other.proposer = publicKey(PROPOSER + 1);
        refusedDelegation(IRegistry.InvalidProof.selector, sign(other, PROPOSER + 1));
    }

    function test_misallocationCountsForThreeDays() public {
        SignedDelegation memory given = delegation(allocation());
        vm.warp(START + EVIDENCE + 1);
        refusedDelegation(IOrderingSlasher.TooLate.selector, given);
        vm.warp(START + EVIDENCE);
        accuseDelegation(given);
    }

    /// Two delegations of one slot, both wrong: the slot is charged once.
    function test_misallocationOfOneSlotOnce() public {
        SignedDelegation memory given = delegation(allocation());
        SlotAllocation memory other = allocation();
        other.startMs -= 1;
        SignedDelegation memory second = delegation(other);
        accuseDelegation(given);
        bytes32 id = accuseDelegation(second);
        ripe();
        slashDelegation(given, misallocation());
        innocentDelegation(IOrderingSlasher.AlreadyJudged.selector, second, misallocation());
        slasher.lapse(id);
    }

    /// The key's other operator does not stand in for this one: each is slashed once.
    function test_aKeyOfTwoOperators() public {
        address poor = makeAddr("poor");
        vm.deal(address(this), 2 * SAFETY);
        bytes32 second = registry.register{value: 2 * SAFETY}(registrations(PROPOSER), poor, ID);
        skip(1 days);
        vm.prank(poor);
        registry.optInToSlasher(second, address(slasher), rival);
        IRegistry.RegistrationProof memory shown = proofOf(PROPOSER, poor);
        SignedDelegation memory given = delegation(allocation());
        vm.prank(accuser);
        slasher.accuseDelegation{value: BOND}(shown, given);
        accuseDelegation(given);
        ripe();
        assertEq(registry.slashDelegation(shown, given, address(slasher), misallocation()), SAFETY);
        assertEq(slashDelegation(given, misallocation()), SAFETY);
    }

    // ---- Slashes that meet.

    /// An operator that has nothing left cannot be slashed; the accuser has its bond back.
    function test_anEmptyOperator() public {
        bytes32 id = accuseMissed();
        // Seven safety faults of sixteen ether take all of a hundred.
        for (uint64 i = 1; i <= 7; ++i) {
            OrderingCommitment memory first = microblock(0, 1, hashes(0, 1));
            first.slot = SLOT + i;
            slash(sign(first), brokenChain());
        }
        assertEq(collateral(), 0);
        ripe();
        SignedCommitment memory judged = ordered();
        vm.expectRevert(IRegistry.NoCollateralSlashed.selector);
        this.slashNow(judged, missedWindow(0));
        skip(CONCLUDE);
        slasher.lapse(id);
        assertEq(slasher.credit(accuser), BOND);
    }

    /// An open accusation outlives the other ways out: opt-out, unregistering, a cheap slash of oneself.
    function test_noWayOutWhileAccused() public {
        vm.warp(START + EVIDENCE);
        vm.startPrank(owner);
        registry.optOutOfSlasher(root, address(slasher));
        registry.unregister(root);
        vm.stopPrank();
        accuseMissed();
        vm.warp(block.timestamp + ANSWER + CONCLUDE);
        guilty(ordered(), missedWindow(0));
    }

    // ---- Credits.

    function test_creditOfNobody() public {
        vm.expectRevert(IOrderingSlasher.NoCredit.selector);
        slasher.claimCredit();
    }

    function test_aReceiverThatRefuses() public {
        Claimant claimant = new Claimant(slasher);
        vm.deal(address(this), BOND);
        bytes32 id = claimant.accuse{value: BOND}(root, ordered(), missedWindow(0));
        claimant.refuse(true);
        // Ether that it could be after.
        accuse(segmentAt(1), missedWindow(0));
        ripe();
        // Neither the slash nor the lapse hangs on it.
        uint256 clean = vm.snapshotState();
        guilty(ordered(), missedWindow(0));
        assertEq(registry.credit(address(claimant)), uint256(SAFETY) * 20 / 100);
        vm.revertToState(clean);
        skip(CONCLUDE);
        slasher.lapse(id);
        vm.expectRevert(IOrderingSlasher.EthTransferFailed.selector);
        claimant.claim();
        assertEq(slasher.credit(address(claimant)), BOND);
        claimant.refuse(false);
        claimant.claim();
        // It asked again while it was paid, and got nothing.
        assertFalse(claimant.reentered());
        assertEq(slasher.credit(address(claimant)), 0);
        assertEq(address(slasher).balance, BOND);
    }

    function test_beneficiariesAreNobodyOtherwise() public view {
        (address rewarded, address harmed) = slasher.beneficiaries();
        assertEq(rewarded, address(0));
        assertEq(harmed, address(0));
    }

    function test_aRollupWithoutTermsHarmsNobody() public {
        OrderingCommitment memory first = microblock(0, 1, hashes(0, 1));
        first.rollupId = 1;
        guilty(sign(first), brokenChain());
        assertEq(registry.credit(revenue), 0);
        assertEq(registry.credit(address(0)), 0);
    }

    // ---- Deployment.

    function refusedConfig(IOrderingSlasher.Config memory wrong) internal {
        vm.expectRevert(IOrderingSlasher.BadConfig.selector);
        new OrderingSlasher(registry, rollups, IInbox(address(inbox)), FORK, GENESIS_MS, SLOT_MS, wrong);
    }

    function test_configIsSane() public {
        assertEq(keccak256(abi.encode(slasher.getConfig())), keccak256(abi.encode(config())));
        IOrderingSlasher.Config memory wrong = config();
        wrong.livenessWei = 0;
        refusedConfig(wrong);
        wrong = config();
        wrong.safetyWei = LIVENESS - 1;
        refusedConfig(wrong);
        wrong = config();
        wrong.safetyWei += 1;
        refusedConfig(wrong);
        wrong = config();
        wrong.bondWei = 0;
        refusedConfig(wrong);
        wrong = config();
        wrong.answerSeconds = 0;
        refusedConfig(wrong);
        wrong = config();
        wrong.concludeSeconds = 0;
        refusedConfig(wrong);
        wrong = config();
        wrong.evidenceSeconds = 0;
        refusedConfig(wrong);
        wrong = config();
        wrong.evidenceSeconds = 7 days + 1;
        refusedConfig(wrong);
        wrong = config();
        wrong.concludeSeconds = 28 days - 64 * 12;
        refusedConfig(wrong);
        wrong.concludeSeconds -= 1;
        new OrderingSlasher(registry, rollups, IInbox(address(inbox)), FORK, GENESIS_MS, SLOT_MS, wrong);
        vm.expectRevert(IOrderingSlasher.BadConfig.selector);
        new OrderingSlasher(registry, rollups, IInbox(address(inbox)), 0, GENESIS_MS, SLOT_MS, config());
        vm.expectRevert(SlotClock.BadClock.selector);
        new OrderingSlasher(registry, rollups, IInbox(address(inbox)), FORK, GENESIS_MS, 0, config());
    }
}
