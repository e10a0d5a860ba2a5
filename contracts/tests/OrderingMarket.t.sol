// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {
    AllocationEntry,
    G1Point,
    G2Point,
    OrderingBid,
    RollupRegistration,
    SignedDelegation,
    SlotAllocation
} from "../src/Objects.sol";
import {OrderingMarket} from "../src/OrderingMarket.sol";
import {SlotClock} from "../src/SlotClock.sol";
import {IInbox} from "../src/interfaces/IInbox.sol";
import {IOrderingMarket} from "../src/interfaces/IOrderingMarket.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRollupRegistry} from "../src/interfaces/IRollupRegistry.sol";
import {BlsSigner} from "./BlsSigner.sol";
import {MarketFixture, Purse} from "./MarketFixture.sol";

contract OrderingMarketTest is MarketFixture {
    // ---- Deployment.

    function _deploy(address a, address b, address c, uint32 horizon, uint32 delay)
        private
        returns (OrderingMarket)
    {
        return new OrderingMarket(
            IRegistry(a), IRollupRegistry(b), IInbox(c), FORK, GENESIS_MS, SLOT_MS, horizon, delay
        );
    }

    function test_refusesConfigurationsThatCannotHold() public {
        address x = address(1);
        vm.expectRevert(IOrderingMarket.BadConfig.selector);
        _deploy(address(0), x, x, 100, 10_000);
        vm.expectRevert(IOrderingMarket.BadConfig.selector);
        _deploy(x, address(0), x, 100, 10_000);
        vm.expectRevert(IOrderingMarket.BadConfig.selector);
        _deploy(x, x, address(0), 100, 10_000);
        vm.expectRevert(IOrderingMarket.BadConfig.selector);
        _deploy(x, x, x, 0, 10_000);
        // A bid is made up to 64 slots before its slot, and settled up to the horizon after it.
        vm.expectRevert(IOrderingMarket.BadConfig.selector);
        _deploy(x, x, x, 100, 100 + 64 * 12);
        OrderingMarket deployed = _deploy(x, x, x, 100, 100 + 64 * 12 + 1);
        assertEq(deployed.HORIZON_SECONDS(), 100);
        assertEq(deployed.WITHDRAWAL_DELAY_SECONDS(), 869);
        vm.expectRevert(SlotClock.BadClock.selector);
        new OrderingMarket(IRegistry(x), IRollupRegistry(x), IInbox(x), FORK, GENESIS_MS, 0, 1, 100);
    }

    // ---- Escrow.

    function test_anyoneDepositsForAnAccount() public {
        vm.deal(stranger, 10);
        vm.expectEmit();
        emit IOrderingMarket.Deposited(account, relay, 7, 7);
        vm.startPrank(stranger);
        market.deposit{value: 7}(account, relay);
        vm.expectEmit();
        emit IOrderingMarket.Deposited(account, relay, 3, 10);
        market.deposit{value: 3}(account, relay);
        assertEq(market.escrow(account, relay), 10);
        assertEq(market.escrow(account, stranger), 0);
        // It is the account's from then on.
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.EscrowTooLow.selector, 0));
        market.requestWithdrawal(relay, 1);
        vm.expectRevert(IOrderingMarket.NotRequested.selector);
        market.withdraw(relay);
    }

    function test_refusesDepositsOfNothingOrForNobody() public {
        vm.expectRevert(IOrderingMarket.ZeroAmount.selector);
        market.deposit(account, relay);
        vm.expectRevert(IOrderingMarket.ZeroAddress.selector);
        market.deposit{value: 1}(address(0), relay);
        vm.expectRevert(IOrderingMarket.ZeroAddress.selector);
        market.deposit{value: 1}(account, address(0));
        (bool taken,) = address(market).call{value: 1}("");
        assertFalse(taken);
    }

    function test_aWithdrawalWaits() public {
        deposit(10);
        vm.startPrank(account);
        vm.expectEmit();
        emit IOrderingMarket.WithdrawalRequested(account, relay, 6, uint64(block.timestamp + DELAY));
        market.requestWithdrawal(relay, 6);
        uint256 readyAt = block.timestamp + DELAY;
        assertEq(market.withdrawal(account, relay).amountWei, 6);
        assertEq(market.withdrawal(account, relay).readyAt, readyAt);
        vm.warp(readyAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.NotReady.selector, readyAt));
        market.withdraw(relay);
        vm.warp(readyAt);
        vm.expectEmit();
        emit IOrderingMarket.Withdrawn(account, relay, 6, 4);
        market.withdraw(relay);
        assertEq(account.balance, 6);
        assertEq(market.escrow(account, relay), 4);
        vm.expectRevert(IOrderingMarket.NotRequested.selector);
        market.withdraw(relay);
    }

    function test_aNewRequestBeginsAnew() public {
        deposit(10);
        vm.startPrank(account);
        market.requestWithdrawal(relay, 10);
        vm.warp(block.timestamp + DELAY);
        market.requestWithdrawal(relay, 1);
        uint256 readyAt = block.timestamp + DELAY;
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.NotReady.selector, readyAt));
        market.withdraw(relay);
        vm.expectEmit();
        emit IOrderingMarket.WithdrawalRequested(account, relay, 0, 0);
        market.requestWithdrawal(relay, 0);
        vm.warp(readyAt);
        vm.expectRevert(IOrderingMarket.NotRequested.selector);
        market.withdraw(relay);
        assertEq(market.escrow(account, relay), 10);
    }

    function test_noRequestBeyondTheEscrow() public {
        deposit(10);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.EscrowTooLow.selector, 10));
        vm.prank(account);
        market.requestWithdrawal(relay, 11);
    }

    function test_aRequestKeepsNoBidFromBeingSettled() public {
        deposit(1000);
        Won memory won = won_(prices1(900));
        vm.warp(AT - 60);
        vm.prank(account);
        market.requestWithdrawal(relay, 1000);
        // The last moment at which it can be settled is before the first at which it can be withdrawn.
        vm.warp(AT + HORIZON);
        vm.expectRevert();
        vm.prank(account);
        market.withdraw(relay);
        settle(won);
        vm.warp(AT - 60 + DELAY);
        vm.expectEmit();
        emit IOrderingMarket.Withdrawn(account, relay, 100, 0);
        vm.prank(account);
        market.withdraw(relay);
        assertEq(account.balance, 100);
    }

    function test_aRequestOfWhatWasAllChargedPaysNothing() public {
        deposit(900);
        vm.prank(account);
        market.requestWithdrawal(relay, 900);
        settle(won_(prices1(900)));
        vm.warp(block.timestamp + DELAY);
        vm.prank(account);
        market.withdraw(relay);
        assertEq(account.balance, 0);
        assertEq(market.withdrawal(account, relay).readyAt, 0);
    }

    function testFuzz_withdrawalsOutliveEveryBidSeenBefore(uint32 horizon, uint32 delay, uint16 slotMs)
        public
    {
        slotMs = uint16(bound(slotMs, 1, type(uint16).max));
        horizon = uint32(bound(horizon, 1, 365 days));
        address x = address(1);
        bool covers = uint256(delay) * 1000 > uint256(horizon) * 1000 + 64 * uint256(slotMs);
        if (!covers) vm.expectRevert(IOrderingMarket.BadConfig.selector);
        new OrderingMarket(
            IRegistry(x), IRollupRegistry(x), IInbox(x), FORK, GENESIS_MS, slotMs, horizon, delay
        );
    }

    // ---- Settlement.

    function test_aBidInTimePaysRollupsAndProposer() public {
        deposit(5000);
        post(ROLLUP, SLOT, 0, 1, AT - 12);
        post(ROLLUP, SLOT, 1, 2, AT);
        Won memory won = won_(prices2(1003, 500));
        bytes32 hash = market.bidHash(won.bid);
        vm.expectEmit();
        emit IOrderingMarket.BidSettled(hash, account, relay, SLOT, 1503);
        vm.expectEmit();
        emit IOrderingMarket.RightSettled(
            ROLLUP, SLOT, hash, recipients[0], 753, keyHash(PROPOSER), 250, true
        );
        vm.expectEmit();
        emit IOrderingMarket.RightSettled(
            ROLLUP + 1, SLOT, hash, recipients[1], 500, keyHash(PROPOSER), 0, false
        );
        vm.prank(stranger);
        settle(won);
        assertEq(market.escrow(account, relay), 3497);
        assertEq(market.credit(recipients[0]), 753);
        assertEq(market.credit(recipients[1]), 500);
        assertEq(market.proposerCredit(keyHash(PROPOSER)), 250);
        assertTrue(market.isSettled(ROLLUP, SLOT));
        assertTrue(market.isSettled(ROLLUP + 1, SLOT));
        assertFalse(market.isSettled(ROLLUP, SLOT + 1));
        assertFalse(market.isSettled(ROLLUP + 2, SLOT));
        assertEq(address(market).balance, owed());
    }

    function test_aLateBatchGivesTheProposersShareToTheRollup() public {
        deposit(1000);
        post(ROLLUP, SLOT, 0, 1, AT);
        post(ROLLUP, SLOT, 1, 2, AT + 1);
        settle(won_(prices1(1000)));
        assertEq(market.credit(recipients[0]), 1000);
        assertEq(market.proposerCredit(keyHash(PROPOSER)), 0);
    }

    function test_settlesFromTheSlotUntilTheHorizon() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        vm.warp(AT);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.TooEarly.selector, AT + 1));
        settle(won);
        vm.warp(AT + HORIZON + 1);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.TooLate.selector, AT + HORIZON));
        settle(won);
        vm.warp(AT + HORIZON);
        settle(won);
    }

    function test_aBidSettlesOnce() public {
        deposit(5000);
        Won memory won = won_(prices2(1000, 1000));
        settle(won);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.AlreadySettled.selector, ROLLUP, SLOT));
        settle(won);
        // Nor does another bid for one of its rollups, under another delegation.
        Won memory other = wonAt(SLOT, 2, prices1(500));
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.AlreadySettled.selector, ROLLUP, SLOT));
        settle(other);
        settle(wonAt(SLOT - 1, 1, prices2(1000, 1000)));
    }

    function test_chargesOnlyTheDepositForTheBidsRelay() public {
        vm.deal(address(this), 1000);
        market.deposit{value: 1000}(account, stranger);
        Won memory won = won_(prices1(1000));
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.EscrowTooLow.selector, 0));
        settle(won);
        deposit(999);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.EscrowTooLow.selector, 999));
        settle(won);
        deposit(1);
        settle(won);
        assertEq(market.escrow(account, stranger), 1000);
    }

    // ---- Settling what was not won.

    function test_noStrangerSpendsAnAccountsEscrow() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        won.signature = ecdsa(strangerKey, market.bidHash(won.bid));
        vm.expectRevert(IOrderingMarket.BadBidSignature.selector);
        settle(won);
        won.signature = "";
        vm.expectRevert(IOrderingMarket.BadBidSignature.selector);
        settle(won);
        won.bid.account = address(0);
        vm.expectRevert(IOrderingMarket.BadBidSignature.selector);
        settle(won);
    }

    function test_aRivalCannotHaveItsWindowPaidByAnother() public {
        deposit(1000);
        // The rival's entry names the account's bid, but the rival's own committer.
        Won memory won = won_(prices1(1000));
        AllocationEntry[] memory entries = entriesOf(won.bid, prices1(1000));
        entries[0].committer = stranger;
        won.delegation = delegationOf(entries, SLOT, PROPOSER);
        won.receipt = receiptOf(won.delegation, START_MS - 1, relayKey);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.NotAllocated.selector, "committer"));
        settle(won);
    }

    function test_theProposerAloneCannotMakeABidPay() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        // Without the relay's receipt, or with one from after the start.
        won.receipt = receiptOf(won.delegation, START_MS - 1, strangerKey);
        _invalid(won, "relay's signature");
        won.receipt = receiptOf(won.delegation, START_MS, relayKey);
        _invalid(won, "received late");
    }

    function test_theRelayAloneCannotMakeABidPay() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        won.delegation.signature = BlsSigner.sign(OTHER_PROPOSER, keccak256("anything"));
        won.receipt = receiptOf(won.delegation, START_MS - 1, relayKey);
        _invalid(won, "proposer's signature");
        won.delegation.signature = G2Point(0, 0, 0, 0, 0, 0, 0, 0);
        _invalid(won, "proposer's signature");
    }

    function test_neitherMayRaiseThePriceOrSellHalf() public {
        deposit(10_000);
        Won memory won = won_(prices2(1000, 1000));
        AllocationEntry[] memory entries = entriesOf(won.bid, prices2(1000, 1001));
        _notAllocated(won, entries, "amountWei");
        entries = entriesOf(won.bid, prices2(1000, 999));
        _notAllocated(won, entries, "amountWei");
        entries = entriesOf(won.bid, prices1(2000));
        _notAllocated(won, entries, "rollupIds");
        entries = entriesOf(won.bid, prices2(1000, 1000));
        entries[1].rollupId = ROLLUP + 2;
        _notAllocated(won, entries, "rollupIds");
        entries = entriesOf(won.bid, prices2(1000, 1000));
        entries[1].account = stranger;
        _notAllocated(won, entries, "account");
        entries = entriesOf(won.bid, prices2(1000, 1000));
        entries[1].delegate = abi.encodePacked(uint8(1), new bytes(47));
        _notAllocated(won, entries, "delegate");
        entries = entriesOf(won.bid, prices2(1000, 1000));
        entries[1].url = "https://elsewhere.example/";
        _notAllocated(won, entries, "url");
        entries[0].bidHash = entries[1].bidHash = 0;
        _notAllocated(won, entries, "rollupIds");
    }

    function _notAllocated(Won memory won, AllocationEntry[] memory entries, string memory reason) private {
        won.delegation = delegationOf(entries, SLOT, PROPOSER);
        won.receipt = receiptOf(won.delegation, START_MS - 1, relayKey);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.NotAllocated.selector, reason));
        settle(won);
    }

    function test_aBidForRollupsOutOfOrderSettlesNever() public {
        deposit(2000);
        Won memory won = won_(prices2(1000, 1000));
        (won.bid.rollupIds[0], won.bid.rollupIds[1]) = (ROLLUP + 1, ROLLUP);
        won.signature = ecdsa(accountKey, market.bidHash(won.bid));
        _notAllocated(won, entriesOf(won.bid, prices2(1000, 1000)), "rollupIds");
        won.bid.rollupIds = new uint64[](0);
        won.bid.amountWei = 0;
        won.signature = ecdsa(accountKey, market.bidHash(won.bid));
        _notAllocated(won, new AllocationEntry[](0), "rollupIds");
    }

    function test_anExpiredBidSettlesNever() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        // The auction closed four slots before the start, or later.
        won.bid.expiry = START_MS / 1000 - 48;
        won.signature = ecdsa(accountKey, market.bidHash(won.bid));
        won.delegation = delegationOf(entriesOf(won.bid, prices1(1000)), SLOT, PROPOSER);
        won.receipt = receiptOf(won.delegation, START_MS - 1, relayKey);
        uint256 before = vm.snapshotState();
        settle(won);
        vm.revertToState(before);

        won.bid.expiry -= 1;
        won.signature = ecdsa(accountKey, market.bidHash(won.bid));
        won.delegation = delegationOf(entriesOf(won.bid, prices1(1000)), SLOT, PROPOSER);
        won.receipt = receiptOf(won.delegation, START_MS - 1, relayKey);
        vm.expectRevert(IOrderingMarket.BidExpired.selector);
        settle(won);
    }

    function _invalid(Won memory won, string memory reason) private {
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.InvalidDelegation.selector, reason));
        settle(won);
    }

    /// Signs the delegation as it is now, and has it receipted.
    function _resign(Won memory won) private view {
        won.delegation.signature =
            BlsSigner.sign(PROPOSER, toSign(keccak256(abi.encode(uint256(2), won.delegation.delegation))));
        won.receipt = receiptOf(won.delegation, START_MS - 1, relayKey);
    }

    function test_malformedMetadataIsNamed() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        bytes memory good = won.delegation.delegation.metadata;
        bytes[5] memory bad = [
            bytes(""),
            hex"01",
            abi.encodePacked(good, uint256(0)),
            abi.encode(uint8(2), keccak256("no allocation")),
            abi.encode(uint8(1), uint256(0x40), uint256(SLOT), uint256(1), uint256(0), type(uint256).max)
        ];
        for (uint256 i = 0; i < bad.length; ++i) {
            won.delegation.delegation.metadata = bad[i];
            _resign(won);
            _invalid(won, "metadata");
        }
        won.delegation.delegation.metadata = good;
        _resign(won);
        settle(won);
    }

    function testFuzz_anyChangedMetadataIsNamed(uint256 place, uint8 change) public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        bytes memory metadata = won.delegation.delegation.metadata;
        place = bound(place, 0, metadata.length - 1);
        metadata[place] = bytes1(uint8(metadata[place]) ^ uint8(bound(change, 1, 255)));
        _resign(won);
        // It may settle all the same: the auction's root is nobody's business here, and the start may be another.
        try market.settle(won.bid, won.signature, won.delegation, won.receipt) {
            assertEq(market.escrow(account, relay), 0);
        } catch (bytes memory reason) {
            bytes4 selector = bytes4(reason);
            assertTrue(
                selector == IOrderingMarket.InvalidDelegation.selector
                    || selector == IOrderingMarket.NotAllocated.selector
                    || selector == IOrderingMarket.BidExpired.selector
            );
            assertEq(market.escrow(account, relay), 1000);
        }
    }

    function test_metadataOfOtherFormsIsNamed() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        AllocationEntry[] memory entries = entriesOf(won.bid, prices1(1000));
        entries[0].delegate = new bytes(47);
        _badEntries(won, entries);
        entries = entriesOf(won.bid, prices1(1000));
        entries[0].url = string(new bytes(257));
        _badEntries(won, entries);
        entries[0].url = unicode"https://gäteway.example/";
        _badEntries(won, entries);
        // The same rollup twice, side by side and apart.
        entries = entriesOf(bidOf(new uint256[](2)), new uint256[](2));
        entries[1].rollupId = ROLLUP;
        _badEntries(won, entries);
        entries = entriesOf(bidOf(new uint256[](4)), new uint256[](4));
        entries[0].rollupId = ROLLUP + 3;
        _badEntries(won, entries);
    }

    function _badEntries(Won memory won, AllocationEntry[] memory entries) private {
        won.delegation = delegationOf(entries, SLOT, PROPOSER);
        won.receipt = receiptOf(won.delegation, START_MS - 1, relayKey);
        _invalid(won, "metadata");
    }

    function test_whatIsDecodedIsEncodedAgain() public view {
        SlotAllocation memory allocation =
            SlotAllocation(1, 2, keccak256("auction"), entriesOf(bidOf(prices1(5)), prices1(5)));
        (uint8 version, SlotAllocation memory again) = market.decodeMetadata(abi.encode(uint8(9), allocation));
        assertEq(version, 9);
        assertEq(abi.encode(again), abi.encode(allocation));
    }

    function test_messagesOfOtherSlotsAreNamed() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        Won memory other = wonAt(SLOT + 1, 1, prices1(1000));
        won.delegation = other.delegation;
        _invalid(won, "delegation's slot");

        SlotAllocation memory allocation =
            SlotAllocation(SLOT + 1, START_MS, 0, entriesOf(won.bid, prices1(1000)));
        won = won_(prices1(1000));
        won.delegation.delegation.metadata = abi.encode(uint8(1), allocation);
        _resign(won);
        _invalid(won, "allocation's slot");

        won = won_(prices1(1000));
        won.receipt = other.receipt;
        _invalid(won, "receipt's slot");
        won.receipt = receiptOf(won.delegation, START_MS - 1, relayKey);
        won.receipt.receipt.delegationHash = keccak256("another");
        _invalid(won, "receipt's hash");
    }

    function test_aWindowThatNeverStartsCostsNothing() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        SlotAllocation memory allocation =
            SlotAllocation(SLOT, uint64(AT) * 1000, 0, entriesOf(won.bid, prices1(1000)));
        won.delegation.delegation.metadata = abi.encode(uint8(1), allocation);
        _resign(won);
        _invalid(won, "start");
    }

    function test_aDelegateThatIsNoKeyDelegatesNothing() public {
        deposit(1000);
        Won memory won = won_(prices1(1000));
        won.delegation.delegation.delegate.y_b ^= bytes32(uint256(1));
        _resign(won);
        _invalid(won, "delegate");
        won.delegation.delegation.delegate =
            abi.decode(abi.encode(bytes32(0), bytes32(0), bytes32(0), bytes32(0)), (G1Point));
        _resign(won);
        _invalid(won, "delegate");
    }

    // ---- The rollups' terms.

    function test_sellsOnlyByTheTermsOfTheSlot() public {
        deposit(5000);
        // In force 96 slots later: nothing said now reaches a slot that is sold.
        vm.warp(AT - 60);
        RollupRegistration memory terms = termsOf(ROLLUP, stranger, 0);
        terms.active = false;
        rollups.update(terms);
        vm.warp(AT + 1);
        settle(won_(prices1(1000)));
        assertEq(market.credit(recipients[0]), 1000);

        // From SLOT + 91 on they are.
        uint64 later = SLOT + 96;
        Won memory won = wonAt(later, 1, prices1(1000));
        vm.warp(market.slotStartMs(later) / 1000 + 1);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.NotForSale.selector, ROLLUP, "active"));
        settle(won);
    }

    function test_sellsOnlyThroughItsRelayAndAboveItsReserve() public {
        deposit(5000);
        RollupRegistration memory terms = termsOf(ROLLUP, recipients[0], SHARE);
        terms.relay = stranger;
        rollups.update(terms);
        terms = termsOf(ROLLUP + 1, recipients[1], SHARE);
        terms.reserveWei = 501;
        rollups.update(terms);
        uint64 slot = rollups.slotAt(block.timestamp) + 96;
        Won memory won = wonAt(slot, 1, prices2(1000, 500));
        vm.warp(market.slotStartMs(slot) / 1000 + 1);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.NotForSale.selector, ROLLUP, "relay"));
        settle(won);

        terms.rollupId = ROLLUP;
        rollups.update(terms);
        slot = rollups.slotAt(block.timestamp) + 96;
        won = wonAt(slot, 1, prices2(1000, 500));
        vm.warp(market.slotStartMs(slot) / 1000 + 1);
        vm.expectRevert(abi.encodeWithSelector(IOrderingMarket.NotForSale.selector, ROLLUP + 1, "reserveWei"));
        settle(won);
        settle(wonAt(slot, 1, prices2(999, 501)));
    }

    // ---- What was earned.

    function test_revenueIsClaimedByItsRecipientAlone() public {
        deposit(1000);
        settle(won_(prices1(1000)));
        vm.expectRevert(IOrderingMarket.NothingToClaim.selector);
        vm.prank(stranger);
        market.claim();
        vm.expectEmit();
        emit IOrderingMarket.Claimed(recipients[0], 1000);
        vm.startPrank(recipients[0]);
        market.claim();
        assertEq(recipients[0].balance, 1000);
        assertEq(market.credit(recipients[0]), 0);
        vm.expectRevert(IOrderingMarket.NothingToClaim.selector);
        market.claim();
    }

    function _earn() private {
        deposit(1000);
        post(ROLLUP, SLOT, 0, 2, AT);
        settle(won_(prices1(1000)));
        assertEq(market.proposerCredit(keyHash(PROPOSER)), 250);
    }

    function test_theProposersShareIsItsOperatorsOwners() public {
        _earn();
        IRegistry.RegistrationProof memory proof = register(PROPOSER, PROPOSER, operatorOwner);
        uint256 before = operatorOwner.balance;
        vm.expectEmit();
        emit IOrderingMarket.ProposerClaimed(keyHash(PROPOSER), operatorOwner, 250);
        vm.prank(stranger);
        market.claimProposerShare(proof);
        assertEq(operatorOwner.balance, before + 250);
        assertEq(stranger.balance, 0);
        vm.expectRevert(IOrderingMarket.NothingToClaim.selector);
        market.claimProposerShare(proof);
    }

    function test_aForgedRegistrationClaimsNothing() public {
        _earn();
        // Anyone may register anyone's key and wait for nobody to look; the signature is not the key's.
        IRegistry.RegistrationProof memory forged = register(PROPOSER, OTHER_PROPOSER, stranger);
        vm.warp(block.timestamp + 2 days);
        vm.expectRevert(IOrderingMarket.InvalidProof.selector);
        vm.prank(stranger);
        market.claimProposerShare(forged);

        // Nor does another operator's tree hold the key.
        IRegistry.RegistrationProof memory own = register(OTHER_PROPOSER, OTHER_PROPOSER, stranger);
        IRegistry.RegistrationProof memory mixed = register(PROPOSER, PROPOSER, operatorOwner);
        mixed.registrationRoot = own.registrationRoot;
        vm.expectRevert(IRegistry.InvalidProof.selector);
        market.claimProposerShare(mixed);
        mixed.registrationRoot = keccak256("never registered");
        vm.expectRevert(IRegistry.InvalidProof.selector);
        market.claimProposerShare(mixed);
        assertEq(market.proposerCredit(keyHash(PROPOSER)), 250);
    }

    function test_anOperatorThatLeftStillGetsItsShares() public {
        _earn();
        IRegistry.RegistrationProof memory proof = register(PROPOSER, PROPOSER, operatorOwner);
        vm.startPrank(operatorOwner);
        registry.unregister(proof.registrationRoot);
        vm.warp(block.timestamp + 7 days);
        registry.claimCollateral(proof.registrationRoot);
        uint256 before = operatorOwner.balance;
        market.claimProposerShare(proof);
        assertEq(operatorOwner.balance, before + 250);
    }

    function test_anOperatorsOwnerNamesItsRelay() public {
        bytes32 root = register(PROPOSER, PROPOSER, operatorOwner).registrationRoot;
        vm.expectEmit();
        emit IOrderingMarket.RelayNamed(root, relay);
        vm.prank(operatorOwner);
        market.nameRelay(root, relay);
        assertEq(market.relayOf(root), relay);
        vm.expectRevert(IOrderingMarket.NotOwner.selector);
        vm.prank(stranger);
        market.nameRelay(root, stranger);
        vm.expectRevert(IOrderingMarket.NotOwner.selector);
        vm.prank(stranger);
        market.nameRelay(keccak256("never registered"), stranger);
        vm.prank(operatorOwner);
        market.nameRelay(root, address(0));
        assertEq(market.relayOf(root), address(0));
    }

    // ---- Who has code.

    function test_whoRefusesEtherKeepsItsClaim() public {
        Purse purse = new Purse();
        purse.refuse(true);
        vm.deal(address(this), 10);
        market.deposit{value: 10}(address(purse), relay);
        purse.act(address(market), abi.encodeCall(market.requestWithdrawal, (relay, 10)));
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert(IOrderingMarket.EthTransferFailed.selector);
        purse.act(address(market), abi.encodeCall(market.withdraw, (relay)));
        assertEq(market.escrow(address(purse), relay), 10);
        purse.refuse(false);
        purse.act(address(market), abi.encodeCall(market.withdraw, (relay)));
        assertEq(address(purse).balance, 10);
    }

    function test_anOwnerThatRefusesEtherKeepsItsClaim() public {
        _earn();
        Purse purse = new Purse();
        IRegistry.RegistrationProof memory proof = register(PROPOSER, PROPOSER, address(purse));
        purse.refuse(true);
        vm.expectRevert(IOrderingMarket.EthTransferFailed.selector);
        market.claimProposerShare(proof);
        assertEq(market.proposerCredit(keyHash(PROPOSER)), 250);
        purse.refuse(false);
        market.claimProposerShare(proof);
        assertEq(address(purse).balance, 250);
    }

    /// Whatever a payee calls while it is paid, it gets nothing more.
    function test_nobodyEntersWhilePaid() public {
        Purse purse = new Purse();
        setTerms(ROLLUP, address(purse), SHARE);
        IRegistry.RegistrationProof memory proof = register(PROPOSER, PROPOSER, address(purse));
        vm.deal(address(purse), 0);
        uint64 slot = rollups.slotAt(block.timestamp) + 96;
        deposit(10_000);
        vm.deal(address(this), 100);
        market.deposit{value: 100}(address(purse), relay);
        purse.act(address(market), abi.encodeCall(market.requestWithdrawal, (relay, 100)));
        post(ROLLUP, slot, 0, 2, market.slotStartMs(slot) / 1000);
        vm.warp(market.slotStartMs(slot) / 1000 + 1);
        settle(wonAt(slot, 1, prices1(1000)));
        Won memory next = wonAt(slot - 96, 1, prices1(1000));
        vm.warp(block.timestamp + DELAY);

        bytes[6] memory calls = [
            abi.encodeCall(market.claim, ()),
            abi.encodeCall(market.withdraw, (relay)),
            abi.encodeCall(market.claimProposerShare, (proof)),
            abi.encodeCall(market.settle, (next.bid, next.signature, next.delegation, next.receipt)),
            abi.encodeCall(market.requestWithdrawal, (relay, 0)),
            abi.encodeCall(market.deposit, (account, relay))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            purse.onReceive(address(market), calls[i]);
            uint256 before = vm.snapshotState();
            purse.act(address(market), abi.encodeCall(market.claim, ()));
            _wasKeptOut(purse, 750);
            vm.revertToState(before);
            market.claimProposerShare(proof);
            _wasKeptOut(purse, 250);
            vm.revertToState(before);
            purse.act(address(market), abi.encodeCall(market.withdraw, (relay)));
            _wasKeptOut(purse, 100);
            vm.revertToState(before);
        }
    }

    function _wasKeptOut(Purse purse, uint256 paid) private view {
        assertFalse(purse.called());
        assertEq(bytes4(purse.answer()), ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        assertEq(address(purse).balance, paid);
    }

    // ---- Any amounts.

    function testFuzz_allThatIsChargedIsCredited(
        uint128[4] memory amounts,
        uint16[4] memory shares,
        uint8 late
    ) public {
        uint64 slot = rollups.slotAt(block.timestamp) + 96;
        uint256[] memory prices = new uint256[](4);
        uint256 total = 0;
        for (uint64 i = 0; i < 4; ++i) {
            prices[i] = bound(amounts[i], RESERVE, type(uint128).max);
            shares[i] = uint16(bound(shares[i], 0, 10_000));
            total += prices[i];
            setTerms(ROLLUP + i, recipients[i], shares[i]);
        }
        deposit(total);
        uint256 at_ = market.slotStartMs(slot) / 1000;
        for (uint64 i = 0; i < 4; ++i) {
            post(ROLLUP + i, slot, 0, 2, at_ + (late >> i & 1));
        }
        vm.warp(at_ + 1);
        settle(wonAt(slot, 1, prices));

        uint256 proposerWei = 0;
        for (uint256 i = 0; i < 4; ++i) {
            uint256 share = late >> i & 1 == 1 ? 0 : prices[i] * shares[i] / 10_000;
            proposerWei += share;
            assertEq(market.credit(recipients[i]), prices[i] - share);
        }
        assertEq(market.proposerCredit(keyHash(PROPOSER)), proposerWei);
        assertEq(market.escrow(account, relay), 0);
        assertEq(address(market).balance, owed());
        assertEq(owed(), total);
    }

    /// Whoever signs whichever part wrongly, nothing moves.
    function testFuzz_nothingMovesByForgedParts(uint256 key, uint8 part) public {
        key = bound(key, 1, 2 ** 128);
        vm.assume(vm.addr(key) != account && vm.addr(key) != relay);
        deposit(1000);
        Won memory won = won_(prices1(1000));
        part %= 3;
        if (part == 0) won.signature = ecdsa(key, market.bidHash(won.bid));
        if (part == 1) won.receipt = receiptOf(won.delegation, START_MS - 1, key);
        if (part == 2) {
            bytes32 root = toSign(keccak256(abi.encode(uint256(2), won.delegation.delegation)));
            won.delegation.signature = BlsSigner.sign(key + PROPOSER, root);
        }
        vm.expectRevert();
        settle(won);
        assertEq(market.escrow(account, relay), 1000);
        assertFalse(market.isSettled(ROLLUP, SLOT));
    }
}
