// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {RollupRegistration} from "../src/Objects.sol";
import {RollupRegistry} from "../src/RollupRegistry.sol";
import {SlotClock} from "../src/SlotClock.sol";
import {IRollupRegistry} from "../src/interfaces/IRollupRegistry.sol";

/// A registration that the registry takes.
abstract contract RegistrationFixture {
    function registrationOf(uint64 rollupId) internal pure returns (RollupRegistration memory) {
        return RollupRegistration({
            rollupId: rollupId,
            reserveWei: 77,
            reserveCommitter: address(0xCC),
            revenueRecipient: address(0xEE),
            inclusionShareBps: 2500,
            maxBatchBytes: 120 * 1024,
            maxTxGas: 30_000_000,
            policy: 1,
            requiredLevel: 4,
            opaque: false,
            active: true,
            relay: address(0xBB),
            uri: "https://rollup.example/about"
        });
    }
}

contract RollupRegistryTest is Test, RegistrationFixture {
    uint64 private constant ROLLUP = 4242;
    uint64 private constant GENESIS_MS = 1_700_000_000_000;
    uint64 private constant SLOT_MS = 12_000;

    RollupRegistry private registry;
    address private registrar = makeAddr("registrar");
    address private owner = makeAddr("owner");
    address private stranger = makeAddr("stranger");

    function setUp() public {
        registry = new RollupRegistry(registrar, GENESIS_MS, SLOT_MS, 96);
        vm.prank(registrar);
        registry.grant(ROLLUP, owner);
        _toSlot(1000);
    }

    function _toSlot(uint64 slot) private {
        vm.warp(registry.slotStartMs(slot) / 1000);
    }

    function _update(RollupRegistration memory registration) private returns (uint64) {
        vm.prank(owner);
        return registry.update(registration);
    }

    function test_needsARegistrarAndAClock() public {
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.BadField.selector, "registrar"));
        new RollupRegistry(address(0), GENESIS_MS, SLOT_MS, 96);
        vm.expectRevert(SlotClock.BadClock.selector);
        new RollupRegistry(registrar, GENESIS_MS, 0, 96);
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.BadField.selector, "noticeSlots"));
        new RollupRegistry(registrar, GENESIS_MS, SLOT_MS, 0);
        assertEq(registry.REGISTRAR(), registrar);
    }

    function test_grantsAChainIdOnce() public {
        vm.expectEmit();
        emit IRollupRegistry.RollupGranted(7, owner);
        vm.prank(registrar);
        registry.grant(7, owner);
        assertEq(registry.ownerOf(7), owner);
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.AlreadyGranted.selector, uint64(7)));
        vm.prank(registrar);
        registry.grant(7, stranger);
    }

    function test_onlyTheRegistrarGrants() public {
        vm.expectRevert(IRollupRegistry.NotRegistrar.selector);
        vm.prank(owner);
        registry.grant(8, owner);
        vm.startPrank(registrar);
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.BadField.selector, "rollupId"));
        registry.grant(0, owner);
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.BadField.selector, "owner"));
        registry.grant(8, address(0));
    }

    function test_theRegistrarHasNoSayAfterwards() public {
        vm.startPrank(registrar);
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOwner.selector, ROLLUP));
        registry.update(registrationOf(ROLLUP));
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOwner.selector, ROLLUP));
        registry.offer(ROLLUP, registrar);
    }

    function test_termsApplyAfterTheNotice() public {
        RollupRegistration memory registration = registrationOf(ROLLUP);
        vm.expectEmit();
        emit IRollupRegistry.RollupUpdated(ROLLUP, 1096, registration);
        assertEq(_update(registration), 1096);
        assertEq(registry.NOTICE_SLOTS(), 96);

        assertEq(abi.encode(registry.registrationAt(ROLLUP, 1096)), abi.encode(registration));
        assertEq(abi.encode(registry.registrationAt(ROLLUP, type(uint64).max)), abi.encode(registration));
        IRollupRegistry.Terms memory terms = registry.termsAt(ROLLUP, 1096);
        assertEq(terms.reserveWei, 77);
        assertEq(terms.reserveCommitter, address(0xCC));
        assertEq(terms.revenueRecipient, address(0xEE));
        assertEq(terms.relay, address(0xBB));
        assertEq(terms.inclusionShareBps, 2500);
        assertTrue(terms.active);

        RollupRegistration memory nothing;
        IRollupRegistry.Terms memory none;
        assertEq(abi.encode(registry.registrationAt(ROLLUP, 1095)), abi.encode(nothing));
        assertEq(abi.encode(registry.termsAt(ROLLUP, 1095)), abi.encode(none));
        assertEq(abi.encode(registry.termsAt(ROLLUP + 1, 1096)), abi.encode(none));
        assertEq(abi.encode(registry.registrationAt(ROLLUP + 1, 1096)), abi.encode(nothing));
    }

    function test_theNoticeIsTheDeployments() public {
        registry = new RollupRegistry(registrar, GENESIS_MS, SLOT_MS, 18);
        vm.prank(registrar);
        registry.grant(ROLLUP, owner);
        assertEq(registry.NOTICE_SLOTS(), 18);
        assertEq(_update(registrationOf(ROLLUP)), 1018);
        assertFalse(registry.termsAt(ROLLUP, 1017).active);
        assertTrue(registry.termsAt(ROLLUP, 1018).active);
    }

    function test_theLastChangeInASlotStands() public {
        RollupRegistration memory registration = registrationOf(ROLLUP);
        registration.uri = "a uri so long that it takes more than one word of storage, and then some more";
        _update(registration);
        vm.warp(block.timestamp + 11);
        registration.uri = "short";
        registration.reserveWei = 5;
        registration.active = false;
        _update(registration);
        assertEq(abi.encode(registry.registrationAt(ROLLUP, 1096)), abi.encode(registration));
        vm.warp(block.timestamp + 1);
        registration.reserveWei = 6;
        assertEq(_update(registration), 1097);
        assertEq(registry.termsAt(ROLLUP, 1096).reserveWei, 5);
        assertEq(registry.termsAt(ROLLUP, 1097).reserveWei, 6);
    }

    function test_beforeGenesisTheClockStandsAtZero() public {
        vm.warp(1);
        assertEq(_update(registrationOf(ROLLUP)), 96);
        _toSlot(0);
        assertEq(_update(registrationOf(ROLLUP)), 96);
    }

    function test_onlyTheOwnerUpdates() public {
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOwner.selector, ROLLUP));
        vm.prank(stranger);
        registry.update(registrationOf(ROLLUP));
        // Not granted: nobody's, so not even zero's.
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOwner.selector, ROLLUP + 1));
        vm.prank(owner);
        registry.update(registrationOf(ROLLUP + 1));
    }

    function _refused(RollupRegistration memory registration, string memory field) private {
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.BadField.selector, field));
        _update(registration);
    }

    function test_refusesFieldsOutOfBounds() public {
        RollupRegistration memory r = registrationOf(ROLLUP);
        r.revenueRecipient = address(0);
        _refused(r, "revenueRecipient");
        r = registrationOf(ROLLUP);
        r.relay = address(0);
        _refused(r, "relay");
        r = registrationOf(ROLLUP);
        r.inclusionShareBps = 10_001;
        _refused(r, "inclusionShareBps");
        r = registrationOf(ROLLUP);
        r.maxBatchBytes = 32 * 1024 - 1;
        _refused(r, "maxBatchBytes");
        r.maxBatchBytes = 16 * 1024 * 1024 + 1;
        _refused(r, "maxBatchBytes");
        r = registrationOf(ROLLUP);
        r.maxTxGas = 0;
        _refused(r, "maxTxGas");
        r = registrationOf(ROLLUP);
        r.policy = 2;
        _refused(r, "policy");
        r = registrationOf(ROLLUP);
        r.requiredLevel = 6;
        _refused(r, "requiredLevel");
        r = registrationOf(ROLLUP);
        r.uri = string(new bytes(257));
        _refused(r, "uri");
    }

    function test_takesFieldsAtTheirBounds() public {
        RollupRegistration memory r = registrationOf(ROLLUP);
        r.reserveWei = type(uint256).max;
        r.reserveCommitter = address(0);
        r.inclusionShareBps = 10_000;
        r.maxBatchBytes = 32 * 1024;
        r.maxTxGas = 0;
        r.opaque = true;
        r.policy = 0;
        r.requiredLevel = 5;
        r.active = false;
        r.uri = string(new bytes(256));
        _update(r);
        assertEq(abi.encode(registry.registrationAt(ROLLUP, 1096)), abi.encode(r));
        r.maxBatchBytes = 16 * 1024 * 1024;
        r.inclusionShareBps = 0;
        r.uri = "";
        _update(r);
        assertEq(abi.encode(registry.registrationAt(ROLLUP, 1096)), abi.encode(r));
    }

    function test_ownershipPassesInTwoSteps() public {
        address heir = makeAddr("heir");
        vm.expectEmit();
        emit IRollupRegistry.RollupOffered(ROLLUP, owner, heir);
        vm.prank(owner);
        registry.offer(ROLLUP, heir);
        assertEq(registry.ownerOf(ROLLUP), owner);
        assertEq(registry.offeredTo(ROLLUP), heir);
        // Until it is taken, the owner is the owner.
        _update(registrationOf(ROLLUP));

        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOffered.selector, ROLLUP));
        vm.prank(stranger);
        registry.accept(ROLLUP);

        vm.expectEmit();
        emit IRollupRegistry.RollupAccepted(ROLLUP, heir);
        vm.prank(heir);
        registry.accept(ROLLUP);
        assertEq(registry.ownerOf(ROLLUP), heir);
        assertEq(registry.termsAt(ROLLUP, 1096).reserveWei, 77);

        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOwner.selector, ROLLUP));
        vm.prank(owner);
        registry.update(registrationOf(ROLLUP));
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOffered.selector, ROLLUP));
        vm.prank(heir);
        registry.accept(ROLLUP);
    }

    function test_anOfferCanBeTakenBackOrReplaced() public {
        vm.startPrank(owner);
        registry.offer(ROLLUP, stranger);
        registry.offer(ROLLUP, makeAddr("heir"));
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOffered.selector, ROLLUP));
        vm.prank(stranger);
        registry.accept(ROLLUP);
        vm.prank(owner);
        registry.offer(ROLLUP, address(0));
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOffered.selector, ROLLUP));
        vm.prank(makeAddr("heir"));
        registry.accept(ROLLUP);
        vm.expectRevert(abi.encodeWithSelector(IRollupRegistry.NotOwner.selector, ROLLUP));
        vm.prank(stranger);
        registry.offer(ROLLUP, stranger);
    }

    function testFuzz_theClockIsTheNetworks(uint64 genesisMs, uint64 slotMs, uint64 slot, uint64 time)
        public
    {
        slotMs = uint64(bound(slotMs, 1, 100_000));
        time = uint64(bound(time, 0, 2 ** 40));
        RollupRegistry clock = new RollupRegistry(registrar, genesisMs, slotMs, 96);
        assertEq(clock.slotStartMs(slot), uint256(genesisMs) + uint256(slot) * slotMs);
        uint64 found = clock.slotAt(time);
        if (uint256(time) * 1000 < genesisMs) {
            assertEq(found, 0);
        } else {
            assertLe(clock.slotStartMs(found), uint256(time) * 1000);
            assertGt(clock.slotStartMs(found + 1), uint256(time) * 1000);
        }
    }

    /// Against a list searched from its end.
    function testFuzz_termsAreThoseLastSetBefore(uint16[12] memory gaps, uint64 asked) public {
        asked = uint64(bound(asked, 1000, 1000 + 96 + 12 * 40));
        uint256 expected = 0;
        for (uint256 i = 0; i < gaps.length; ++i) {
            vm.warp(block.timestamp + gaps[i] % 480);
            RollupRegistration memory registration = registrationOf(ROLLUP);
            registration.reserveWei = i + 1;
            if (_update(registration) <= asked) expected = i + 1;
        }
        assertEq(registry.termsAt(ROLLUP, asked).reserveWei, expected);
        assertEq(registry.registrationAt(ROLLUP, asked).reserveWei, expected);
    }

    /// Whatever the owner does later, a slot's terms are fixed from 96 slots before it.
    function testFuzz_noChangeReachesTheNoticeOrThePast(uint16[6] memory before, uint16[6] memory later)
        public
    {
        _updates(before);
        uint64 now_ = registry.slotAt(block.timestamp);
        bytes[97] memory fixed_;
        for (uint64 i = 0; i < 97; ++i) {
            fixed_[i] = abi.encode(registry.registrationAt(ROLLUP, now_ + i - 1));
        }
        vm.warp(block.timestamp + 1);
        _updates(later);
        for (uint64 i = 0; i < 97; ++i) {
            assertEq(fixed_[i], abi.encode(registry.registrationAt(ROLLUP, now_ + i - 1)));
        }
    }

    function _updates(uint16[6] memory gaps) private {
        for (uint256 i = 0; i < gaps.length; ++i) {
            RollupRegistration memory registration = registrationOf(ROLLUP);
            registration.reserveWei = uint256(keccak256(abi.encode(gaps, i)));
            registration.active = registration.reserveWei % 2 == 0;
            _update(registration);
            vm.warp(block.timestamp + gaps[i] % 60);
        }
    }
}
