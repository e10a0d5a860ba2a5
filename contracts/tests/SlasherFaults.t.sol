// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {AtomicityEvidence, BrokenChainEvidence, OmissionEvidence} from "../src/Evidence.sol";
import {
    BundleCommitment,
    Commitment,
    Delegation,
    Leg,
    OrderingCommitment,
    SignedCommitment,
    SignedDelegation
} from "../src/Objects.sol";
import {IOrderingSlasher} from "../src/interfaces/IOrderingSlasher.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {SlasherFixture} from "./SlasherFixture.sol";

/// Faults that are shown at once, through the real registry: who is guilty, and who only nearly.
contract SlasherFaultsTest is SlasherFixture {
    // ---- Equivocation.

    function test_equivocation() public {
        OrderingCommitment memory other = microblock();
        other.txRoot = keccak256("another");
        vm.expectEmit(address(slasher));
        emit IOrderingSlasher.FaultJudged(1, committer, ROLLUP, SLOT, SAFETY);
        guilty(sign(microblock()), equivocation(sign(other)));
        assertTrue(slasher.wasJudged(committer, ROLLUP, SLOT, 1));
        assertFalse(slasher.wasJudged(committer, ROLLUP, SLOT, 2));
        assertEq(stranger.balance, uint256(SAFETY) * 20 / 100);
        assertEq(registry.credit(revenue), uint256(SAFETY) * 30 / 100);
    }

    /// Any difference is one, also in what nothing else depends on.
    function testFuzz_equivocationInAnyField(uint256 field, uint256 value) public {
        OrderingCommitment memory other = mutated(microblock(), bound(field, 4, 10), value);
        guilty(sign(microblock()), equivocation(sign(other)));
    }

    /// Of another place it is none.
    function testFuzz_noEquivocationElsewhere(uint256 field, uint256 value) public {
        OrderingCommitment memory other = mutated(microblock(), bound(field, 0, 3), value);
        innocent(sign(microblock()), equivocation(sign(other)), IOrderingSlasher.OtherPlace.selector);
    }

    /// The commitment with one of its eleven fields changed.
    function mutated(OrderingCommitment memory ordering, uint256 field, uint256 value)
        internal
        pure
        returns (OrderingCommitment memory)
    {
        uint8[11] memory bits = [64, 64, 16, 32, 0, 32, 32, 0, 64, 64, 2];
        bytes memory words = abi.encode(ordering);
        uint256 was;
        assembly ("memory-safe") {
            was := mload(add(add(words, 0x20), shl(5, field)))
        }
        uint256 mask = bits[field] == 0 ? type(uint256).max : (uint256(1) << bits[field]) - 1;
        if (field == 10) value = 1 + value % 2; // another kind than 0
        else if ((value & mask) == was) value = ~value;
        value &= mask;
        assembly ("memory-safe") {
            mstore(add(add(words, 0x20), shl(5, field)), value)
        }
        return abi.decode(words, (OrderingCommitment));
    }

    function test_equivocationNotWithItself() public {
        SignedCommitment memory judged = sign(microblock());
        bytes4 same = IOrderingSlasher.SameCommitment.selector;
        innocent(judged, equivocation(judged), same);
        // Not by another envelope either.
        Commitment memory other = commitmentOf(judged.commitment.payload, 0x11);
        innocent(judged, equivocation(sign(other, committerKey, keccak256("other"), 5)), same);
        other.requestHash = keccak256("request");
        innocent(judged, equivocation(sign(other, committerKey)), same);
    }

    function test_equivocationOfAnother() public {
        OrderingCommitment memory other = microblock();
        other.txRoot = keccak256("another");
        Commitment memory message = commitmentOf(abi.encode(other), 0x11);
        bytes memory why = abi.encodeWithSelector(IOrderingSlasher.OtherSigner.selector, rival);
        innocent(sign(microblock()), equivocation(sign(message, rivalKey)), why);

        message.slasher = address(inbox);
        // What contradicts it may name any slasher.
        uint256 clean = vm.snapshotState();
        guilty(sign(microblock()), equivocation(sign(message, committerKey)));
        vm.revertToState(clean);

        SignedCommitment memory foreign = sign(commitmentOf(abi.encode(other), 0x11), committerKey);
        foreign.signature = hex"";
        why = abi.encodeWithSelector(IOrderingSlasher.OtherSigner.selector, address(0));
        innocent(sign(microblock()), equivocation(foreign), why);

        message.slasher = address(slasher);
        innocent(
            sign(microblock()),
            equivocation(sign(commitmentOf(abi.encode(other), 0x12), committerKey)),
            IOrderingSlasher.NotAnOrdering.selector
        );
    }

    function test_equivocationOnAnotherChain() public {
        OrderingCommitment memory other = microblock();
        other.txRoot = keccak256("another");
        uint256 here = block.chainid;
        vm.chainId(1);
        SignedCommitment memory foreign = sign(other);
        vm.chainId(here);
        SignedCommitment memory one = sign(microblock());
        vm.expectPartialRevert(IOrderingSlasher.OtherSigner.selector);
        registry.slashCommitment(root, one, equivocation(foreign));
    }

    function test_onceOnly() public {
        OrderingCommitment memory other = microblock();
        other.txRoot = keccak256("another");
        SignedCommitment memory one = sign(microblock());
        SignedCommitment memory two = sign(other);
        guilty(one, equivocation(two));
        vm.expectRevert(IRegistry.SlashingAlreadyOccurred.selector);
        registry.slashCommitment(root, one, equivocation(two));
        // Neither the other way round, nor at another place of the window, nor in other envelopes.
        vm.expectRevert(IOrderingSlasher.AlreadyJudged.selector);
        registry.slashCommitment(root, two, equivocation(one));
        bytes memory evidence = equivocation(sign(two.commitment, committerKey, 0, 9));
        vm.expectRevert(IOrderingSlasher.AlreadyJudged.selector);
        registry.slashCommitment(root, one, evidence);
        OrderingCommitment memory a = microblock();
        OrderingCommitment memory b = microblock();
        (a.number, b.number, b.timestampMs) = (77, 77, 1);
        (one, evidence) = (sign(a), equivocation(sign(b)));
        vm.expectRevert(IOrderingSlasher.AlreadyJudged.selector);
        registry.slashCommitment(root, one, evidence);
        // Another slot is another fault, and so is another rollup.
        (a.slot, b.slot) = (SLOT + 1, SLOT + 1);
        guilty(sign(a), equivocation(sign(b)));
        (a.rollupId, b.rollupId) = (OTHER_ROLLUP, OTHER_ROLLUP);
        guilty(sign(a), equivocation(sign(b)));
    }

    function test_evidenceCountsForThreeDays() public {
        OrderingCommitment memory other = microblock();
        other.txRoot = keccak256("another");
        vm.warp(START + EVIDENCE + 1);
        innocent(
            sign(microblock()),
            equivocation(sign(other)),
            abi.encodeWithSelector(IOrderingSlasher.TooLate.selector, START + EVIDENCE)
        );
        vm.warp(START + EVIDENCE);
        guilty(sign(microblock()), equivocation(sign(other)));
    }

    function test_judgedOnlyOnTheOptIn() public {
        SignedDelegation memory given = delegation(allocation());
        OrderingCommitment memory other = microblock();
        other.txRoot = keccak256("another");
        SignedCommitment memory one = sign(microblock());
        SignedCommitment memory two = sign(other);
        IRegistry.RegistrationProof memory shown = proof();
        vm.expectRevert(IOrderingSlasher.DelegationNotEmpty.selector);
        registry.slashCommitment(shown, given, one, equivocation(two));
        vm.expectRevert(IOrderingSlasher.NotRegistry.selector);
        slasher.slash(given.delegation, one.commitment, committer, equivocation(two), stranger);
        vm.expectRevert(IOrderingSlasher.NotRegistry.selector);
        slasher.slashDelegation(root, given.delegation, misallocation(), stranger);
    }

    function test_anyPartOfADelegationMakesItOne() public {
        SignedCommitment memory one = sign(microblock());
        for (uint256 i = 0; i < 11; ++i) {
            SignedDelegation memory given;
            bytes memory words = abi.encode(given.delegation);
            // Its ten words of head but the offset; then a byte of metadata.
            if (i < 10) words[0x20 + 32 * i + 31] = 0x01;
            else words = abi.encodePacked(words, bytes32(uint256(1) << 248));
            if (i == 10) words[0x20 + 11 * 32 + 31] = 0x01;
            (given.delegation) = abi.decode(words, (Delegation));
            vm.prank(address(registry));
            vm.expectRevert(IOrderingSlasher.DelegationNotEmpty.selector);
            slasher.slash(given.delegation, one.commitment, committer, brokenChain(), stranger);
        }
    }

    function test_payloadsHaveOneForm() public {
        OrderingCommitment memory other = microblock();
        other.txRoot = keccak256("another");
        bytes memory payload = abi.encode(other);
        bytes4 why = IOrderingSlasher.NotAnOrdering.selector;
        SignedCommitment memory judged = sign(microblock());
        uint8[9] memory bounded = [0, 1, 2, 3, 5, 6, 8, 9, 10];
        for (uint256 i = 0; i < bounded.length; ++i) {
            bytes memory wrong = bytes.concat(payload);
            wrong[32 * uint256(bounded[i])] = 0x01;
            SignedCommitment memory shown = sign(commitmentOf(wrong, 0x11), committerKey);
            innocent(judged, equivocation(shown), why);
            innocent(shown, equivocation(judged), why);
        }
        payload[32 * 10 + 31] = 0x03; // no such kind
        innocent(judged, equivocation(sign(commitmentOf(payload, 0x11), committerKey)), why);
        payload[32 * 10 + 31] = 0x00;
        innocent(
            judged, equivocation(sign(commitmentOf(bytes.concat(payload, hex"00"), 0x11), committerKey)), why
        );
        innocent(judged, equivocation(sign(commitmentOf("", 0x11), committerKey)), why);
    }

    function test_faultsThatItDoesNotKnow() public {
        uint8[5] memory unknown = [0, 9, 10, 11, 255];
        for (uint256 i = 0; i < unknown.length; ++i) {
            innocent(
                sign(microblock()),
                evidenceOf(unknown[i], ""),
                abi.encodeWithSelector(IOrderingSlasher.UnknownFault.selector, unknown[i])
            );
        }
    }

    // ---- BrokenChain.

    /// The two consecutive ones that hold together.
    function chain()
        internal
        pure
        returns (OrderingCommitment memory previous, OrderingCommitment memory next)
    {
        previous = microblock(2, 5, hashes(5, 4));
        next = microblock(3, 9, hashes(9, 2));
        next.parent = keccak256(abi.encode(previous));
    }

    function test_brokenChain() public {
        (OrderingCommitment memory previous, OrderingCommitment memory next) = chain();
        innocent(sign(next), brokenChain(sign(previous)), IOrderingSlasher.ChainHolds.selector);
        next.parent = keccak256("another");
        guilty(sign(next), brokenChain(sign(previous)));
    }

    function test_brokenChainByIndex() public {
        (OrderingCommitment memory previous, OrderingCommitment memory next) = chain();
        next.firstIndex = 10;
        guilty(sign(next), brokenChain(sign(previous)));
    }

    function test_noIndexFollowsTheLast() public {
        (OrderingCommitment memory previous, OrderingCommitment memory next) = chain();
        previous.firstIndex = type(uint32).max;
        next.firstIndex = 3; // what 2^32 - 1 + 4 is, modulo 2^32
        next.parent = keccak256(abi.encode(previous));
        guilty(sign(next), brokenChain(sign(previous)));
    }

    function testFuzz_aChainThatHolds(uint32 number, uint32 first, uint16 count, uint8 kind) public {
        (OrderingCommitment memory previous, OrderingCommitment memory next) = chain();
        previous.number = uint32(bound(number, 0, type(uint32).max - 1));
        next.number = previous.number + 1;
        previous.firstIndex = uint32(bound(first, 0, type(uint32).max - count));
        previous.txCount = count;
        next.firstIndex = previous.firstIndex + count;
        next.kind = uint8(bound(kind, 0, 2));
        next.parent = keccak256(abi.encode(previous));
        innocent(sign(next), brokenChain(sign(previous)), IOrderingSlasher.ChainHolds.selector);
    }

    function test_onlyConsecutiveOnesAreAChain() public {
        (OrderingCommitment memory previous, OrderingCommitment memory next) = chain();
        next.parent = keccak256("another");
        bytes4 why = IOrderingSlasher.OtherPlace.selector;
        next.number = 4;
        innocent(sign(next), brokenChain(sign(previous)), why);
        next.number = 2;
        innocent(sign(next), brokenChain(sign(previous)), why);
        next.number = 0;
        previous.number = type(uint32).max;
        innocent(sign(next), brokenChain(sign(previous)), why);
        (previous.number, next.number) = (2, 3);
        next.segment = 1;
        innocent(sign(next), brokenChain(sign(previous)), why);
        next.segment = 0;
        next.slot = SLOT + 1;
        innocent(sign(next), brokenChain(sign(previous)), why);
        next.slot = SLOT;
        next.rollupId = OTHER_ROLLUP;
        innocent(sign(next), brokenChain(sign(previous)), why);
    }

    function test_brokenByItself() public {
        uint256 clean = vm.snapshotState();
        OrderingCommitment memory first = microblock(0, 0, hashes(0, 2));
        innocent(sign(first), brokenChain(), IOrderingSlasher.ChainHolds.selector);
        innocent(sign(microblock()), brokenChain(), IOrderingSlasher.ChainHolds.selector);
        first.parent = keccak256("parent");
        guilty(sign(first), brokenChain());
        vm.revertToState(clean);
        first = microblock(0, 1, hashes(0, 2));
        guilty(sign(first), brokenChain());
        vm.revertToState(clean);
        OrderingCommitment memory sealing = sealOf(4, hashes(0, 3), 1);
        innocent(sign(sealing), brokenChain(), IOrderingSlasher.ChainHolds.selector);
        sealing.txCount = 1;
        guilty(sign(sealing), brokenChain());
        vm.revertToState(clean);
        sealing.kind = 2;
        guilty(sign(sealing), brokenChain());
    }

    function test_twoBeforeAreNoEvidence() public {
        (OrderingCommitment memory previous, OrderingCommitment memory next) = chain();
        next.parent = 0;
        SignedCommitment[] memory two = new SignedCommitment[](2);
        (two[0], two[1]) = (sign(previous), sign(previous));
        bytes memory detail = abi.encode(BrokenChainEvidence(two));
        innocent(sign(next), evidenceOf(2, detail), IOrderingSlasher.MalformedEvidence.selector);
    }

    // ---- PostSeal.

    function test_postSealInItsSegment() public {
        uint256 clean = vm.snapshotState();
        OrderingCommitment memory sealing = sealOf(3, hashes(0, 5), 1);
        OrderingCommitment memory after_ = microblock(4, 5, hashes(5, 1));
        guilty(sign(after_), postSeal(sign(sealing)));
        vm.revertToState(clean);
        after_.number = 3;
        innocent(sign(after_), postSeal(sign(sealing)), IOrderingSlasher.OtherPlace.selector);
        after_.number = 2;
        innocent(sign(after_), postSeal(sign(sealing)), IOrderingSlasher.OtherPlace.selector);
    }

    function test_postSealInALaterSegment() public {
        uint256 clean = vm.snapshotState();
        OrderingCommitment memory sealing = sealOf(3, hashes(0, 5), 2);
        OrderingCommitment memory after_ = microblock(0, 0, hashes(0, 1));
        after_.segment = 1;
        guilty(sign(after_), postSeal(sign(sealing)));
        vm.revertToState(clean);
        // A segment's seal does not end the window.
        sealing.kind = 1;
        innocent(sign(after_), postSeal(sign(sealing)), IOrderingSlasher.OtherPlace.selector);
        // What is before the window's seal is not after it.
        sealing.kind = 2;
        sealing.segment = 2;
        after_.number = 9;
        innocent(sign(after_), postSeal(sign(sealing)), IOrderingSlasher.OtherPlace.selector);
    }

    function test_postSealNeedsASealOfTheWindow() public {
        OrderingCommitment memory sealing = microblock(3, 0, hashes(0, 5));
        OrderingCommitment memory after_ = microblock(4, 5, hashes(5, 1));
        innocent(sign(after_), postSeal(sign(sealing)), IOrderingSlasher.NotASeal.selector);
        sealing = sealOf(3, hashes(0, 5), 2);
        sealing.slot = SLOT - 1;
        innocent(sign(after_), postSeal(sign(sealing)), IOrderingSlasher.OtherPlace.selector);
        sealing.slot = SLOT;
        sealing.rollupId = OTHER_ROLLUP;
        innocent(sign(after_), postSeal(sign(sealing)), IOrderingSlasher.OtherPlace.selector);
    }

    // ---- Omission.

    bytes32[] private _promised;
    bytes32[] private _sealed;

    /// A microblock over 5..9 of `_promised`, and the seal over `_sealed`; the place is 7.
    function omissionAt(uint32 index)
        internal
        view
        returns (
            OrderingCommitment memory judged,
            OmissionEvidence memory shown,
            OrderingCommitment memory sealing
        )
    {
        judged = microblock(3, 5, _promised);
        sealing = sealOf(9, _sealed, 1);
        shown.index = index;
        shown.txHash = _promised[index - 5];
        shown.path = pathOf(5, _promised, index);
        if (index < _sealed.length) {
            shown.sealedTxHash = _sealed[index];
            shown.sealedPath = pathOf(0, _sealed, index);
        }
        shown.seal = sign(sealing);
    }

    function test_omission() public {
        (_promised, _sealed) = (hashes(5, 5), hashes(0, 11));
        (OrderingCommitment memory judged, OmissionEvidence memory shown,) = omissionAt(7);
        innocent(sign(judged), omission(shown), IOrderingSlasher.SameTransaction.selector);
        _sealed[7] = keccak256("another");
        (judged, shown,) = omissionAt(7);
        guilty(sign(judged), omission(shown));
    }

    function test_omissionBeyondTheSealsCount() public {
        (_promised, _sealed) = (hashes(5, 5), hashes(0, 7));
        (OrderingCommitment memory judged, OmissionEvidence memory shown,) = omissionAt(7);
        shown.sealedTxHash = keccak256("something");
        innocent(sign(judged), omission(shown), IOrderingSlasher.BadPath.selector);
        shown.sealedTxHash = 0;
        shown.sealedPath = new bytes32[](1);
        innocent(sign(judged), omission(shown), IOrderingSlasher.BadPath.selector);
        (judged, shown,) = omissionAt(7);
        guilty(sign(judged), omission(shown));
    }

    function test_omissionFromAnEmptySegment() public {
        (_promised, _sealed) = (hashes(5, 1), hashes(0, 0));
        (OrderingCommitment memory judged, OmissionEvidence memory shown,) = omissionAt(5);
        guilty(sign(judged), omission(shown));
    }

    function test_omissionNeedsBothPaths() public {
        (_promised, _sealed) = (hashes(5, 5), hashes(0, 11));
        _sealed[7] = keccak256("another");
        (OrderingCommitment memory judged, OmissionEvidence memory shown,) = omissionAt(7);
        bytes4 why = IOrderingSlasher.BadPath.selector;
        bytes32[] memory good = shown.path;

        shown.path = padded(good);
        innocent(sign(judged), omission(shown), why);
        shown.path = shortened(good);
        innocent(sign(judged), omission(shown), why);
        shown.path = new bytes32[](0);
        innocent(sign(judged), omission(shown), why);
        shown.path = pathOf(5, _promised, 8);
        innocent(sign(judged), omission(shown), why);
        shown.path = good;
        shown.txHash = keccak256("never promised");
        innocent(sign(judged), omission(shown), why);
        shown.txHash = _promised[2];

        good = shown.sealedPath;
        shown.sealedPath = padded(good);
        innocent(sign(judged), omission(shown), why);
        shown.sealedPath = shortened(good);
        innocent(sign(judged), omission(shown), why);
        shown.sealedPath = pathOf(0, _sealed, 6);
        innocent(sign(judged), omission(shown), why);
        shown.sealedPath = good;
        shown.sealedTxHash = keccak256("never sealed");
        innocent(sign(judged), omission(shown), why);
        shown.sealedTxHash = _sealed[7];
        guilty(sign(judged), omission(shown));
    }

    function padded(bytes32[] memory path) internal pure returns (bytes32[] memory longer) {
        longer = new bytes32[](path.length + 1);
        for (uint256 i = 0; i < path.length; ++i) {
            longer[i] = path[i];
        }
    }

    function shortened(bytes32[] memory path) internal pure returns (bytes32[] memory shorter) {
        shorter = new bytes32[](path.length - 1);
        for (uint256 i = 0; i < shorter.length; ++i) {
            shorter[i] = path[i];
        }
    }

    function test_omissionOutsideTheMicroblock() public {
        (_promised, _sealed) = (hashes(5, 5), hashes(0, 7));
        (OrderingCommitment memory judged, OmissionEvidence memory shown,) = omissionAt(7);
        bytes4 why = IOrderingSlasher.IndexOutside.selector;
        shown.index = 4;
        innocent(sign(judged), omission(shown), why);
        shown.index = 10;
        innocent(sign(judged), omission(shown), why);
        shown.index = type(uint32).max;
        innocent(sign(judged), omission(shown), why);
        // A seal's own index and count promise no place.
        shown.index = 7;
        judged.kind = 1;
        innocent(sign(judged), omission(shown), why);
    }

    function test_omissionNeedsTheSegmentsSeal() public {
        (_promised, _sealed) = (hashes(5, 5), hashes(0, 7));
        (OrderingCommitment memory judged, OmissionEvidence memory shown, OrderingCommitment memory sealing) =
            omissionAt(7);
        sealing.segment = 1;
        shown.seal = sign(sealing);
        innocent(sign(judged), omission(shown), IOrderingSlasher.OtherPlace.selector);
        sealing.segment = 0;
        sealing.kind = 0;
        shown.seal = sign(sealing);
        innocent(sign(judged), omission(shown), IOrderingSlasher.NotASeal.selector);
        sealing.kind = 2;
        shown.seal = sign(commitmentOf(abi.encode(sealing), 0x11), rivalKey);
        innocent(
            sign(judged),
            omission(shown),
            abi.encodeWithSelector(IOrderingSlasher.OtherSigner.selector, rival)
        );
        shown.seal = sign(sealing);
        guilty(sign(judged), omission(shown));
    }

    /// Whatever the sizes and the place: the naive tree's paths are taken, and those of another place are not.
    function testFuzz_omissionAnywhere(uint256 size, uint256 first, uint256 sealedSize, uint256 place)
        public
    {
        size = bound(size, 1, 40);
        first = bound(first, 5, 5);
        sealedSize = bound(sealedSize, 0, 80);
        place = bound(place, 0, size - 1);
        _promised = hashes(first, size);
        _sealed = hashes(1000, sealedSize);
        (OrderingCommitment memory judged, OmissionEvidence memory shown,) = omissionAt(uint32(first + place));
        uint256 clean = vm.snapshotState();
        guilty(sign(judged), omission(shown));
        vm.revertToState(clean);
        if (size > 1) {
            shown.path = pathOf(first, _promised, first + (place + 1) % size);
            innocent(sign(judged), omission(shown), IOrderingSlasher.BadPath.selector);
        }
    }

    // ---- AtomicityBreak.

    function atomicityAt(uint256 leg, bytes32[] memory txHashes, uint32 firstIndex)
        internal
        view
        returns (
            BundleCommitment memory judged,
            AtomicityEvidence memory shown,
            OrderingCommitment memory there
        )
    {
        judged = bundle(3);
        there = microblock(4, firstIndex, txHashes);
        there.segment = uint16(leg);
        shown.leg = uint16(leg);
        uint32 index = judged.legs[leg].index;
        if (index >= firstIndex && index - firstIndex < txHashes.length) {
            shown.shownTxHash = txHashes[index - firstIndex];
            shown.path = pathOf(firstIndex, txHashes, index);
        }
        shown.shown = sign(there);
    }

    function test_atomicityBreakByAMicroblock() public {
        bytes32[] memory there = hashes(0, 6);
        (BundleCommitment memory judged, AtomicityEvidence memory shown,) = atomicityAt(1, there, 4);
        uint256 clean = vm.snapshotState();
        guilty(sign(judged), atomicity(shown));
        assertTrue(slasher.wasJudged(committer, ROLLUP, SLOT, 5));
        vm.revertToState(clean);
        there[3] = judged.legs[1].txHash;
        (judged, shown,) = atomicityAt(1, there, 4);
        innocent(sign(judged), atomicity(shown), IOrderingSlasher.SameTransaction.selector);
        shown.leg = 0;
        innocent(sign(judged), atomicity(shown), IOrderingSlasher.OtherPlace.selector);
        shown.leg = 3;
        innocent(sign(judged), atomicity(shown), IOrderingSlasher.NoSuchLeg.selector);
        (judged, shown,) = atomicityAt(1, there, 8);
        innocent(sign(judged), atomicity(shown), IOrderingSlasher.IndexOutside.selector);
        (judged, shown,) = atomicityAt(1, hashes(0, 3), 4);
        innocent(sign(judged), atomicity(shown), IOrderingSlasher.IndexOutside.selector);
    }

    function test_atomicityBreakByASeal() public {
        (BundleCommitment memory judged, AtomicityEvidence memory shown, OrderingCommitment memory there) =
            atomicityAt(2, hashes(0, 12), 0);
        there.firstIndex = 12;
        (there.txCount, there.kind) = (0, 2);
        shown.shown = sign(there);
        uint256 clean = vm.snapshotState();
        guilty(sign(judged), atomicity(shown));
        vm.revertToState(clean);

        // The seal that holds the leg.
        bytes32[] memory holding = hashes(0, 12);
        holding[8] = judged.legs[2].txHash;
        (shown.path, shown.shownTxHash) = (pathOf(0, holding, 8), holding[8]);
        there.txRoot = merkleRoot(leaves(0, holding));
        shown.shown = sign(there);
        innocent(sign(judged), atomicity(shown), IOrderingSlasher.SameTransaction.selector);

        // The seal that ends before the leg.
        there.firstIndex = 8;
        there.txRoot = merkleRoot(leaves(0, hashes(0, 8)));
        (shown.path, shown.shownTxHash) = (new bytes32[](0), 0);
        shown.shown = sign(there);
        guilty(sign(judged), atomicity(shown));
    }

    function test_bundlesHaveOneForm() public {
        (BundleCommitment memory judged, AtomicityEvidence memory shown,) = atomicityAt(1, hashes(0, 6), 4);
        bytes memory payload = abi.encode(judged);
        bytes4 why = IOrderingSlasher.NotABundle.selector;
        innocent(sign(commitmentOf(payload, 0x11), committerKey), atomicity(shown), why);
        // Offsets, count, and each number of a leg.
        uint8[7] memory places = [31, 64, 96, 128, 160, 192, 224];
        for (uint256 i = 0; i < places.length; ++i) {
            bytes memory wrong = bytes.concat(payload);
            wrong[places[i]] = 0x07;
            innocent(sign(commitmentOf(wrong, 0x12), committerKey), atomicity(shown), why);
        }
        innocent(
            sign(commitmentOf(bytes.concat(payload, bytes32(0)), 0x12), committerKey), atomicity(shown), why
        );
        innocent(sign(commitmentOf("", 0x12), committerKey), atomicity(shown), why);
        judged.legs = new Leg[](0);
        innocent(sign(judged), atomicity(shown), IOrderingSlasher.NoSuchLeg.selector);
    }

    // ---- ForcedInclusionSkipped.

    function test_forcedInclusionSkipped() public {
        OrderingCommitment memory first = microblock(0, 0, hashes(0, 1));
        bytes memory evidence = evidenceOf(7, "");
        bytes4 nothing = IOrderingSlasher.NothingSkipped.selector;
        innocent(sign(first), evidence, nothing);
        uint256 due = START - 96 * 12;
        vm.warp(due - 12);
        inbox.enqueue(ROLLUP, "due");
        vm.warp(due);
        inbox.enqueue(ROLLUP, "due in the last block");
        vm.warp(due + 1);
        inbox.enqueue(ROLLUP, "not due");
        vm.warp(START);
        first.forcedInclusionHead = 2;
        innocent(sign(first), evidence, nothing);
        first.forcedInclusionHead = 3;
        innocent(sign(first), evidence, nothing);
        first.forcedInclusionHead = 1;
        uint256 clean = vm.snapshotState();
        guilty(sign(first), evidence);
        vm.revertToState(clean);
        // An empty window skips as well.
        first.kind = 2;
        guilty(sign(first), evidence);
        vm.revertToState(clean);
        // L1 sees seals alone: each of the window's orderings has its head.
        first.number = 1;
        guilty(sign(first), evidence);
        vm.revertToState(clean);
        first.number = 0;
        first.segment = 1;
        guilty(sign(first), evidence);
        vm.revertToState(clean);
        first.segment = 0;
        first.rollupId = OTHER_ROLLUP;
        innocent(sign(first), evidence, nothing);
        innocent(sign(first), evidenceOf(7, hex"00"), IOrderingSlasher.MalformedEvidence.selector);
    }

    function test_nothingIsDueInTheFirstSlots() public {
        OrderingCommitment memory first = microblock(0, 0, hashes(0, 1));
        vm.warp(GENESIS_MS / 1000);
        inbox.enqueue(ROLLUP, "queued");
        first.slot = 95;
        SignedCommitment memory judged = sign(first);
        vm.expectRevert(IOrderingSlasher.NothingSkipped.selector);
        slasher.check(judged, evidenceOf(7, ""));
        first.slot = 96;
        slasher.check(sign(first), evidenceOf(7, ""));
    }

    /// What is queued now is due for any slot far ahead; the clock does not overflow.
    function test_slotsFarAhead() public {
        inbox.enqueue(ROLLUP, "queued");
        OrderingCommitment memory first = microblock(0, 0, hashes(0, 1));
        first.slot = type(uint64).max;
        guilty(sign(first), evidenceOf(7, ""));
    }

    // ---- check.

    function test_checkSaysWhatSlashWould() public {
        OrderingCommitment memory other = microblock();
        other.txRoot = keccak256("another");
        SignedCommitment memory one = sign(microblock());
        bytes memory evidence = equivocation(sign(other));
        (uint8 fault, address signer, uint64 rollupId, uint64 slot) = slasher.check(one, evidence);
        assertEq(fault, 1);
        assertEq(signer, committer);
        assertEq(rollupId, ROLLUP);
        assertEq(slot, SLOT);
        vm.expectRevert(IOrderingSlasher.SameCommitment.selector);
        slasher.check(one, equivocation(one));
        one.signature = hex"01";
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.OtherSigner.selector, address(0)));
        slasher.check(one, evidence);
        one = sign(microblock());
        one.commitment.slasher = address(1);
        vm.expectRevert(abi.encodeWithSelector(IOrderingSlasher.OtherSlasher.selector, address(1)));
        slasher.check(one, evidence);
        one = sign(microblock());
        guilty(one, evidence);
        vm.expectRevert(IOrderingSlasher.AlreadyJudged.selector);
        slasher.check(one, evidence);
        vm.warp(START + EVIDENCE + 1);
        vm.expectPartialRevert(IOrderingSlasher.TooLate.selector);
        slasher.check(one, evidence);
    }

    /// Anyone's commitment can be checked, opted in or not.
    function test_checkOfAStranger() public view {
        OrderingCommitment memory first = microblock(0, 1, hashes(0, 1));
        SignedCommitment memory one = sign(commitmentOf(abi.encode(first), 0x11), rivalKey);
        (, address signer,,) = slasher.check(one, brokenChain());
        assertEq(signer, rival);
    }

    // ---- The honest.

    /// All that an honest committer signed for two windows: three microblocks and a seal each, in each of two segments,
    /// and a bundle.
    function honest() internal view returns (SignedCommitment[] memory all) {
        all = new SignedCommitment[](17);
        uint256 n = 0;
        for (uint64 window = 0; window < 2; ++window) {
            for (uint16 segment = 0; segment < 2; ++segment) {
                bytes32 parent = 0;
                for (uint32 number = 0; number < 4; ++number) {
                    OrderingCommitment memory ordering = number < 3
                        ? microblock(number, 3 * number, hashes(3 * number, 3))
                        : sealOf(3, hashes(0, 9), segment == 0 ? 1 : 2);
                    (ordering.slot, ordering.segment, ordering.parent) = (SLOT + window, segment, parent);
                    parent = keccak256(abi.encode(ordering));
                    all[n++] = sign(ordering);
                }
            }
        }
        BundleCommitment memory promised = bundle(2);
        for (uint256 i = 0; i < 2; ++i) {
            promised.legs[i].txHash = hashes(0, 9)[promised.legs[i].index];
        }
        all[n] = sign(promised);
    }

    /// Evidence of any fault made of what an honest committer signed, with the right paths or with others.
    function charge(SignedCommitment memory other, uint8 fault, uint256 seed)
        internal
        pure
        returns (bytes memory)
    {
        uint32 index = uint32(seed % 10);
        bytes32[] memory all = hashes(0, 9);
        uint32 first = index / 3 * 3;
        bytes32[] memory inMicroblock = index < 9 ? pathOf(first, hashes(first, 3), index) : new bytes32[](0);
        bytes32[] memory inSeal = index < 9 ? pathOf(0, all, index) : new bytes32[](0);
        bytes32 txHash = index < 9 ? all[index] : bytes32(0);
        bytes32 shownHash = seed % 7 == 0 ? bytes32(0) : seed % 5 == 0 ? all[(index + 1) % 9] : txHash;
        if (fault == 1) return equivocation(other);
        if (fault == 2) return seed % 3 == 0 ? brokenChain() : brokenChain(other);
        if (fault == 3) return postSeal(other);
        if (fault == 4) {
            return omission(OmissionEvidence(index, txHash, inMicroblock, other, shownHash, inSeal));
        }
        if (fault == 5) {
            bytes32[] memory path = seed % 2 == 0 ? inSeal : inMicroblock;
            return atomicity(AtomicityEvidence(uint16(seed % 3), other, shownHash, path));
        }
        return evidenceOf(7, "");
    }

    /// Whatever is laid beside whatever, and whichever word of it is changed: who did nothing is guilty of nothing.
    /// forge-config: default.fuzz.runs = 1024
    function testFuzz_theHonestAreInnocent(
        uint256 judged,
        uint256 other,
        uint8 fault,
        uint256 seed,
        uint256 place,
        uint256 value,
        bool mutate
    ) public {
        SignedCommitment[] memory all = honest();
        fault = uint8(bound(fault, 1, 6));
        if (fault == 6) fault = 7;
        SignedCommitment memory one = all[judged % all.length];
        bytes memory evidence = charge(all[other % all.length], fault, seed);
        if (mutate) {
            place = bound(place, 0, evidence.length / 32 - 1) * 32;
            // Accusing of what the honest may answer is another matter.
            vm.assume(place != 0 || (value != 6 && value != 8));
            assembly ("memory-safe") {
                mstore(add(add(evidence, 0x20), place), value)
            }
        }
        vm.expectRevert();
        slasher.check(one, evidence);
        vm.expectRevert();
        registry.slashCommitment(root, one, evidence);
    }
}
