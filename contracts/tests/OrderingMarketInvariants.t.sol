// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {OrderingBid, SlotAllocation} from "../src/Objects.sol";
import {OrderingMarket} from "../src/OrderingMarket.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRollupRegistry} from "../src/interfaces/IRollupRegistry.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// Does what anyone may do with a market, in any order, and keeps books of its own.
contract MarketHandler is MarketFixture {
    uint256 internal constant ACCOUNTS = 3;
    uint256 internal constant RELAYS = 2;

    address[ACCOUNTS] public accounts;
    uint256[ACCOUNTS] private _accountKeys;
    address[RELAYS] public relays;
    uint256[RELAYS] private _relayKeys;
    uint256[2] private _proposers = [PROPOSER, OTHER_PROPOSER];
    address[2] public owners;
    IRegistry.RegistrationProof[2] private _proofs;

    /// What each account paid in for each relay, less what was charged and taken out.
    mapping(address account => mapping(address relay => uint256)) public covered;
    /// What each recipient, and each proposer's key, earned and did not take.
    mapping(address recipient => uint256) public earned;
    mapping(bytes32 proposerKeyHash => uint256) public earnedByKey;
    /// What each address must have been paid.
    mapping(address account => uint256) public paid;
    mapping(uint64 rollupId => mapping(uint64 slot => uint256)) public times;
    mapping(address account => mapping(address relay => uint256)) private _readyAt;
    /// The last bid of each kind, to be brought again.
    Won private _last;
    bool private _hasLast;
    uint256 private _nonce;
    uint256 public settlements;
    uint256 public refusals;
    uint64 public lastSlot;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            (accounts[i], _accountKeys[i]) = makeAddrAndKey(string.concat("account ", vm.toString(i)));
        }
        (relays[0], _relayKeys[0]) = (relay, relayKey);
        (relays[1], _relayKeys[1]) = makeAddrAndKey("relay 1");
        for (uint256 i = 0; i < 2; ++i) {
            owners[i] = makeAddr(string.concat("owner ", vm.toString(i)));
            _proofs[i] = register(_proposers[i], _proposers[i], owners[i]);
        }
    }

    function deposit(uint256 who, uint256 which, uint96 amountWei) external {
        (who, which) = (who % ACCOUNTS, which % RELAYS);
        uint256 amount = bound(amountWei, 1, 1 ether);
        vm.deal(address(this), amount);
        market.deposit{value: amount}(accounts[who], relays[which]);
        covered[accounts[who]][relays[which]] += amount;
    }

    function request(uint256 who, uint256 which, uint256 amountWei) external {
        address account_ = accounts[who % ACCOUNTS];
        address relay_ = relays[which % RELAYS];
        uint256 amount = bound(amountWei, 0, covered[account_][relay_]);
        vm.prank(account_);
        market.requestWithdrawal(relay_, amount);
        _readyAt[account_][relay_] = amount == 0 ? 0 : block.timestamp + DELAY;
    }

    function withdraw(uint256 who, uint256 which) external {
        address account_ = accounts[who % ACCOUNTS];
        address relay_ = relays[which % RELAYS];
        uint256 readyAt = _readyAt[account_][relay_];
        uint256 wanted = market.withdrawal(account_, relay_).amountWei;
        vm.prank(account_);
        try market.withdraw(relay_) {
            assertTrue(readyAt != 0 && block.timestamp >= readyAt);
            uint256 amount = wanted < covered[account_][relay_] ? wanted : covered[account_][relay_];
            covered[account_][relay_] -= amount;
            paid[account_] += amount;
            _readyAt[account_][relay_] = 0;
        } catch {
            assertTrue(readyAt == 0 || block.timestamp < readyAt);
            ++refusals;
        }
    }

    function wait(uint256 time) external {
        vm.warp(block.timestamp + bound(time, 1, 1 days));
    }

    /// A bid for some rollups in a slot that began lately, whether or not the escrow covers it, the slot is sold,
    /// or the account's relay is the rollups'.
    function settle(
        uint256 who,
        uint256 which,
        uint256 proposer,
        uint8 set,
        uint256 price,
        uint8 late,
        uint8 back
    ) external {
        Won memory won;
        (won.bid.account, won.bid.relay) = (accounts[who % ACCOUNTS], relays[which % RELAYS]);
        won.bid.slot = rollups.slotAt(block.timestamp) - 1 - back % 4;
        won.bid.nonce = uint64(++_nonce);
        uint256[] memory prices = _prices(won.bid, set % 15 + 1, price);
        won.bid.committer = committer;
        won.bid.delegate = new bytes(48);
        won.bid.expiry = type(uint64).max;
        won.signature = ecdsa(_accountKeys[who % ACCOUNTS], market.bidHash(won.bid));
        won.delegation = delegationOf(entriesOf(won.bid, prices), won.bid.slot, _proposers[proposer % 2]);
        won.receipt = receiptOf(won.delegation, startOf(won.bid.slot) - 1, _relayKeys[which % RELAYS]);
        for (uint256 i = 0; i < prices.length; ++i) {
            // Once per place: the first record stands.
            uint256 time = market.slotStartMs(won.bid.slot) / 1000 + (late >> i & 1);
            post(won.bid.rollupIds[i], won.bid.slot, 0, 2, time);
        }
        _bring(won, prices);
        (_last, _hasLast) = (won, true);
    }

    /// Anyone brings the last bid again, or with its signature under another amount.
    function again(bool changed) external {
        if (!_hasLast) return;
        Won memory won = _last;
        if (changed) won.bid.amountWei += 1;
        bool first = !changed && !market.isSettled(won.bid.rollupIds[0], won.bid.slot);
        try market.settle(won.bid, won.signature, won.delegation, won.receipt) {
            assertTrue(first);
            _book(won, _pricesOf(won));
        } catch {
            ++refusals;
        }
    }

    function claim(uint256 which) external {
        address recipient = recipients[which % 4];
        vm.prank(recipient);
        try market.claim() {
            paid[recipient] += earned[recipient];
            earned[recipient] = 0;
        } catch {
            assertEq(earned[recipient], 0);
            ++refusals;
        }
    }

    function claimShare(uint256 which, uint256 withProof) external {
        IRegistry.RegistrationProof memory proof = _proofs[which % 2];
        bytes32 key = keyHash(_proposers[which % 2]);
        // Another operator's root does not do.
        proof.registrationRoot = _proofs[withProof % 2].registrationRoot;
        try market.claimProposerShare(proof) {
            assertEq(which % 2, withProof % 2);
            paid[owners[which % 2]] += earnedByKey[key];
            earnedByKey[key] = 0;
        } catch {
            assertTrue(earnedByKey[key] == 0 || which % 2 != withProof % 2);
            ++refusals;
        }
    }

    function _prices(OrderingBid memory bid, uint256 set, uint256 price)
        private
        pure
        returns (uint256[] memory prices)
    {
        uint256 count = 0;
        for (uint64 i = 0; i < 4; ++i) {
            count += set >> i & 1;
        }
        prices = new uint256[](count);
        bid.rollupIds = new uint64[](count);
        count = 0;
        for (uint64 i = 0; i < 4; ++i) {
            if (set >> i & 1 == 0) continue;
            bid.rollupIds[count] = ROLLUP + i;
            prices[count] = bound(uint256(keccak256(abi.encode(price, i))), RESERVE - 1, 0.4 ether);
            bid.amountWei += prices[count++];
        }
    }

    function _pricesOf(Won memory won) private pure returns (uint256[] memory prices) {
        (, SlotAllocation memory allocation) =
            abi.decode(won.delegation.delegation.metadata, (uint8, SlotAllocation));
        prices = new uint256[](allocation.entries.length);
        for (uint256 i = 0; i < prices.length; ++i) {
            prices[i] = allocation.entries[i].priceWei;
        }
    }

    function _bring(Won memory won, uint256[] memory prices) private {
        bool covers = won.bid.amountWei <= covered[won.bid.account][won.bid.relay];
        try market.settle(won.bid, won.signature, won.delegation, won.receipt) {
            assertTrue(covers);
            _book(won, prices);
        } catch {
            ++refusals;
        }
    }

    function _book(Won memory won, uint256[] memory prices) private {
        ++settlements;
        lastSlot = won.bid.slot > lastSlot ? won.bid.slot : lastSlot;
        covered[won.bid.account][won.bid.relay] -= won.bid.amountWei;
        bytes32 key = keccak256(abi.encode(won.delegation.delegation.proposer));
        for (uint256 i = 0; i < prices.length; ++i) {
            uint64 rollupId = won.bid.rollupIds[i];
            ++times[rollupId][won.bid.slot];
            IRollupRegistry.Terms memory terms = rollups.termsAt(rollupId, won.bid.slot);
            assertTrue(terms.active && terms.relay == won.bid.relay && prices[i] >= terms.reserveWei);
            uint256 time = inbox.record(rollupId, won.bid.slot, 0, committer).time;
            uint256 share = time * 1000 <= market.slotStartMs(won.bid.slot) ? prices[i] * SHARE / 10_000 : 0;
            earned[terms.revenueRecipient] += prices[i] - share;
            earnedByKey[key] += share;
        }
    }

    function theMarket() external view returns (OrderingMarket) {
        return market;
    }

    function recipientAt(uint256 i) external view returns (address) {
        return recipients[i];
    }

    function proposerKey(uint256 i) external view returns (bytes32) {
        return keyHash(_proposers[i]);
    }
}

/// forge-config: default.invariant.runs = 48
/// forge-config: default.invariant.depth = 64
/// forge-config: default.invariant.fail-on-revert = true
contract OrderingMarketInvariants is Test {
    MarketHandler private handler;
    OrderingMarket private market;

    function setUp() public {
        handler = new MarketHandler();
        handler.setUp();
        market = handler.theMarket();
        bytes4[] memory selectors = new bytes4[](10);
        selectors[0] = handler.deposit.selector;
        selectors[1] = handler.request.selector;
        selectors[2] = handler.withdraw.selector;
        selectors[3] = handler.wait.selector;
        selectors[4] = handler.settle.selector;
        selectors[5] = handler.settle.selector;
        selectors[6] = handler.again.selector;
        selectors[7] = handler.claim.selector;
        selectors[8] = handler.claimShare.selector;
        selectors[9] = handler.deposit.selector;
        targetSelector(FuzzSelector(address(handler), selectors));
        targetContract(address(handler));
    }

    /// One function for all three: each would run the same calls again.
    function invariant_theMoneyIsWhereItBelongs() public view {
        _weiAreConserved();
        _nobodyTakesAnothersMoney();
        _eachRightIsPaidOnce();
    }

    /// Every wei is in exactly one place.
    function _weiAreConserved() private view {
        uint256 total = 0;
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = 0; j < 2; ++j) {
                total += market.escrow(handler.accounts(i), handler.relays(j));
            }
        }
        for (uint256 i = 0; i < 4; ++i) {
            total += market.credit(handler.recipientAt(i));
        }
        for (uint256 i = 0; i < 2; ++i) {
            total += market.proposerCredit(handler.proposerKey(i));
        }
        assertEq(address(market).balance, total);
    }

    /// Nobody has more or less than the books say: not in the market, and not paid out.
    function _nobodyTakesAnothersMoney() private view {
        for (uint256 i = 0; i < 3; ++i) {
            address account = handler.accounts(i);
            for (uint256 j = 0; j < 2; ++j) {
                assertEq(
                    market.escrow(account, handler.relays(j)), handler.covered(account, handler.relays(j))
                );
            }
            assertEq(account.balance, handler.paid(account));
        }
        for (uint256 i = 0; i < 4; ++i) {
            address recipient = handler.recipientAt(i);
            assertEq(market.credit(recipient), handler.earned(recipient));
            assertEq(recipient.balance, handler.paid(recipient));
        }
        for (uint256 i = 0; i < 2; ++i) {
            bytes32 key = handler.proposerKey(i);
            assertEq(market.proposerCredit(key), handler.earnedByKey(key));
            assertEq(handler.owners(i).balance, handler.paid(handler.owners(i)));
        }
    }

    /// Of the slots settled lately, no rollup's was paid twice, and what was paid is marked.
    function _eachRightIsPaidOnce() private view {
        uint64 last = handler.lastSlot();
        for (uint64 i = 0; i < 16 && i <= last; ++i) {
            for (uint64 rollup = 4242; rollup < 4246; ++rollup) {
                uint256 times = handler.times(rollup, last - i);
                assertLe(times, 1);
                assertEq(market.isSettled(rollup, last - i), times == 1);
            }
        }
    }

    /// What the handler does can succeed: else the invariants would say nothing.
    function test_theHandlerGetsThrough() public {
        handler.deposit(0, 0, 1 ether);
        handler.deposit(0, 0, 1 ether);
        handler.settle(0, 0, 0, 14, 5, 1, 0);
        handler.again(false);
        handler.again(true);
        assertEq(handler.settlements(), 1);
        assertEq(handler.refusals(), 2);
        handler.claim(0);
        handler.claimShare(0, 0);
        handler.request(0, 0, type(uint256).max);
        for (uint256 i = 0; i < 4; ++i) {
            handler.wait(1 days);
        }
        handler.withdraw(0, 0);
        assertEq(handler.refusals(), 2);
        assertGt(handler.paid(handler.accounts(0)), 0);
        assertGt(handler.paid(handler.recipientAt(0)), 0);
        assertGt(handler.paid(handler.owners(0)), 0);
        invariant_theMoneyIsWhereItBelongs();
    }
}
