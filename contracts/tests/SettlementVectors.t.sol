// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";
import {Inbox} from "../src/Inbox.sol";
import {OrderingBid, RollupRegistration, SignedDelegation, SignedDelegationReceipt} from "../src/Objects.sol";
import {OrderingMarket} from "../src/OrderingMarket.sol";
import {Registry} from "../src/Registry.sol";
import {RollupRegistry} from "../src/RollupRegistry.sol";
import {Signing} from "../src/Signing.sol";
import {IInbox} from "../src/interfaces/IInbox.sol";
import {IOrderingMarket} from "../src/interfaces/IOrderingMarket.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";

/// What Rust judges of a settlement (`contracts/bindings/tests/schema/settlement.rs`), the market does. Registry and
/// rollups' terms are real; the Inbox's records are given, for the committers' keys are Rust's.
contract SettlementVectorsTest is Test {
    struct SettlementCall {
        bytes bid;
        bytes bidSignature;
        bytes delegation;
        bytes receipt;
    }

    struct SettlementTerms {
        uint64 rollupId;
        uint256 reserveWei;
        address revenueRecipient;
        address relay;
        uint16 inclusionShareBps;
        bool active;
    }

    struct SettlementRecord {
        uint64 rollupId;
        uint16 segment;
        address committer;
        uint64 time;
        uint8 kind;
    }

    struct SettlementRight {
        uint64 rollupId;
        address revenueRecipient;
        uint256 revenueWei;
        uint256 proposerWei;
        bool inTime;
    }

    struct SettlementOutcome {
        bytes32 bidHash;
        uint256 chargedWei;
        SettlementRight[] rights;
    }

    struct SettlementCase {
        string name;
        bool settles;
        string reason;
        bytes revertData;
        uint256 now;
        bytes bid;
        bytes bidSignature;
        bytes delegation;
        bytes receipt;
        SettlementTerms[] terms;
        SettlementRecord[] records;
        uint256 escrowWei;
        SettlementCall[] earlier;
        SettlementOutcome outcome;
    }

    string private constant CASE = "SettlementCase(string name,bool settles,string reason,bytes revertData,"
        "uint256 now,bytes bid,bytes bidSignature,bytes delegation,bytes receipt,SettlementTerms[] terms,"
        "SettlementRecord[] records,uint256 escrowWei,SettlementCall[] earlier,SettlementOutcome outcome)"
        "SettlementRecord(uint64 rollupId,uint16 segment,address committer,uint64 time,uint8 kind)"
        "SettlementCall(bytes bid,bytes bidSignature,bytes delegation,bytes receipt)"
        "SettlementTerms(uint64 rollupId,uint256 reserveWei,address revenueRecipient,address relay,"
        "uint16 inclusionShareBps,bool active)"
        "SettlementOutcome(bytes32 bidHash,uint256 chargedWei,SettlementRight[] rights)"
        "SettlementRight(uint64 rollupId,address revenueRecipient,uint256 revenueWei,uint256 proposerWei,"
        "bool inTime)";

    OrderingMarket private market;
    RollupRegistry private rollups;
    Inbox private inbox;
    uint64 private slot;
    uint256 private settled;
    uint256 private refused;

    function test_bidsWhereSlotsBeginWithASecond() public {
        _all("seconds.json");
        assertEq(settled, 34);
        assertEq(refused, 84);
    }

    function test_bidsWhereSlotsBeginBetweenSeconds() public {
        _all("milliseconds.json");
        assertEq(settled, 5);
        assertEq(refused, 4);
    }

    function _all(string memory name) private {
        string memory json = vm.readFile(string.concat("../tests/vectors/settlement/", name));
        _deploy(json);
        SettlementCase[] memory cases =
            abi.decode(vm.parseJsonTypeArray(json, ".cases", CASE), (SettlementCase[]));
        for (uint256 i = 0; i < cases.length; ++i) {
            uint256 before = vm.snapshotState();
            this.judge(cases[i]);
            vm.revertToState(before);
            vm.clearMockedCalls();
            if (cases[i].settles) ++settled;
            else ++refused;
        }
    }

    function _deploy(string memory json) private {
        vm.chainId(vm.parseJsonUint(json, ".chainId"));
        bytes4 version = bytes4(vm.parseJsonBytes(json, ".genesisForkVersion"));
        uint64 genesisMs = uint64(vm.parseJsonUint(json, ".clock.genesisMs"));
        uint64 slotMs = uint64(vm.parseJsonUint(json, ".clock.slotMs"));
        uint32 horizon = uint32(vm.parseJsonUint(json, ".horizonSeconds"));
        slot = uint64(vm.parseJsonUint(json, ".slot"));
        inbox = new Inbox(version);
        rollups = new RollupRegistry(address(this), genesisMs, slotMs, 96);
        IRegistry registry = new Registry(
            IRegistry.Config({
                minCollateralWei: 1 ether,
                fraudProofWindow: 1,
                unregistrationDelay: 1,
                slashWindow: 1,
                optInDelay: 1,
                signingDomain: Signing.domain(version),
                chainId: Signing.littleEndian(block.chainid)
            })
        );
        address where = vm.parseJsonAddress(json, ".market");
        deployCodeTo(
            "OrderingMarket.sol:OrderingMarket",
            abi.encode(registry, rollups, inbox, version, genesisMs, slotMs, horizon, horizon + 1000),
            where
        );
        market = OrderingMarket(where);
    }

    function judge(SettlementCase memory vector) external {
        vm.warp(rollups.slotStartMs(slot - rollups.NOTICE_SLOTS()) / 1000);
        for (uint256 i = 0; i < vector.terms.length; ++i) {
            _setTerms(vector.terms[i]);
        }
        for (uint256 i = 0; i < vector.records.length; ++i) {
            SettlementRecord memory batch = vector.records[i];
            vm.mockCall(
                address(inbox),
                abi.encodeCall(inbox.record, (batch.rollupId, slot, batch.segment, batch.committer)),
                abi.encode(IInbox.Record(0, 0, batch.time, batch.kind))
            );
        }
        vm.warp(vector.now);
        for (uint256 i = 0; i < vector.earlier.length; ++i) {
            SettlementCall memory earlier = vector.earlier[i];
            _fund(earlier.bid, abi.decode(earlier.bid, (OrderingBid)).amountWei);
            _settle(earlier.bid, earlier.bidSignature, earlier.delegation, earlier.receipt);
        }
        _fund(vector.bid, vector.escrowWei);

        SettlementOutcome memory outcome = vector.outcome;
        OrderingBid memory bid = abi.decode(vector.bid, (OrderingBid));
        if (!vector.settles) {
            vm.expectRevert(vector.revertData);
            _settle(vector.bid, vector.bidSignature, vector.delegation, vector.receipt);
            assertGt(bytes(vector.reason).length, 0, vector.name);
            return;
        }
        assertEq(market.bidHash(bid), outcome.bidHash, vector.name);
        bytes32 proposer =
            keccak256(abi.encode(abi.decode(vector.delegation, (SignedDelegation)).delegation.proposer));
        uint256 proposerWei = market.proposerCredit(proposer);
        uint256 revenueWei = 0;
        for (uint256 i = 0; i < outcome.rights.length; ++i) {
            SettlementRight memory right = outcome.rights[i];
            proposerWei += right.proposerWei;
            revenueWei += right.revenueWei;
            vm.expectEmit(address(market));
            emit IOrderingMarket.RightSettled(
                right.rollupId,
                slot,
                outcome.bidHash,
                right.revenueRecipient,
                right.revenueWei,
                proposer,
                right.proposerWei,
                right.inTime
            );
        }
        address recipient = outcome.rights[0].revenueRecipient;
        revenueWei += market.credit(recipient);
        _settle(vector.bid, vector.bidSignature, vector.delegation, vector.receipt);
        assertEq(market.escrow(bid.account, bid.relay), vector.escrowWei - outcome.chargedWei, vector.name);
        assertEq(market.proposerCredit(proposer), proposerWei, vector.name);
        assertEq(market.credit(recipient), revenueWei, vector.name);
        for (uint256 i = 0; i < outcome.rights.length; ++i) {
            assertTrue(market.isSettled(outcome.rights[i].rollupId, slot), vector.name);
        }
    }

    function _setTerms(SettlementTerms memory terms) private {
        rollups.grant(terms.rollupId, address(this));
        rollups.update(
            RollupRegistration({
                rollupId: terms.rollupId,
                reserveWei: terms.reserveWei,
                reserveCommitter: address(0),
                revenueRecipient: terms.revenueRecipient,
                inclusionShareBps: terms.inclusionShareBps,
                maxBatchBytes: 120 * 1024,
                maxTxGas: 1,
                policy: 0,
                requiredLevel: 0,
                opaque: false,
                active: terms.active,
                relay: terms.relay,
                uri: ""
            })
        );
    }

    function _fund(bytes memory encodedBid, uint256 amountWei) private {
        OrderingBid memory bid = abi.decode(encodedBid, (OrderingBid));
        // Nobody deposits for nobody.
        if (amountWei == 0 || bid.relay == address(0) || bid.account == address(0)) return;
        vm.deal(address(this), amountWei);
        market.deposit{value: amountWei}(bid.account, bid.relay);
    }

    function _settle(
        bytes memory bid,
        bytes memory bidSignature,
        bytes memory delegation,
        bytes memory receipt
    ) private {
        market.settle(
            abi.decode(bid, (OrderingBid)),
            bidSignature,
            abi.decode(delegation, (SignedDelegation)),
            abi.decode(receipt, (SignedDelegationReceipt))
        );
    }
}
