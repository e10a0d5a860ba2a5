// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {MarketFixture} from "./MarketFixture.sol";

/// Gas of the market's calls, without the 21,000 and the calldata of the L1 transaction. The numbers stand in
/// `snapshots/`; `contracts/test` fails if they change unsaid.
contract OrderingMarketGasTest is MarketFixture {
    function setUp() public override {
        super.setUp();
        deposit(1 ether);
    }

    function test_deposit() public {
        vm.deal(stranger, 2 ether);
        vm.startPrank(stranger);
        market.deposit{value: 1 ether}(stranger, relay);
        vm.snapshotGasLastCall("OrderingMarket", "deposit, first");
        vm.cool(address(market));
        market.deposit{value: 1 ether}(stranger, relay);
        vm.snapshotGasLastCall("OrderingMarket", "deposit, later");
    }

    function test_settle1() public {
        _settle("settle 1 rollup", 1);
    }

    function test_settle4() public {
        _settle("settle 4 rollups", 4);
    }

    function _settle(string memory name, uint64 count) private {
        uint256[] memory prices = new uint256[](count);
        for (uint64 i = 0; i < count; ++i) {
            prices[i] = 1000;
            post(ROLLUP + i, SLOT, 0, 2, AT);
        }
        // Of many settlements in a row: who is credited was credited before.
        uint64 earlier = SLOT - 1;
        for (uint64 i = 0; i < count; ++i) {
            post(ROLLUP + i, earlier, 0, 2, AT - 12);
        }
        settle(wonAt(earlier, 1, prices));
        Won memory won = won_(prices);
        vm.cool(address(market));
        vm.cool(address(registry));
        vm.cool(address(rollups));
        vm.cool(address(inbox));
        settle(won);
        vm.snapshotGasLastCall("OrderingMarket", name);
        assertEq(market.proposerCredit(keyHash(PROPOSER)), 500 * uint256(count));
    }

    function test_claims() public {
        post(ROLLUP, SLOT, 0, 2, AT);
        settle(won_(prices1(1000)));
        IRegistry.RegistrationProof memory proof = register(PROPOSER, PROPOSER, operatorOwner);
        vm.cool(address(market));
        vm.prank(recipients[0]);
        market.claim();
        vm.snapshotGasLastCall("OrderingMarket", "claim");
        vm.cool(address(market));
        vm.cool(address(registry));
        market.claimProposerShare(proof);
        vm.snapshotGasLastCall("OrderingMarket", "claimProposerShare");
    }

    function test_withdrawal() public {
        vm.cool(address(market));
        vm.startPrank(account);
        market.requestWithdrawal(relay, 1 ether);
        vm.snapshotGasLastCall("OrderingMarket", "requestWithdrawal");
        vm.warp(block.timestamp + DELAY);
        vm.cool(address(market));
        market.withdraw(relay);
        vm.snapshotGasLastCall("OrderingMarket", "withdraw");
    }
}
