// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {SignedCommitment} from "../src/Objects.sol";
import {SealFixture} from "./SealFixture.sol";

/// Gas of `submit` for transactions of 120 bytes, without the 21,000 and the calldata of the L1 transaction that
/// carries it. The numbers stand in `snapshots/`; `contracts/test` fails if they change unsaid.
contract InboxGasTest is SealFixture {
    uint256 private constant BASE = 110_000 - 21_000;
    uint256 private constant EACH = 700;

    function test_submit1() public {
        _measure("submit 1", 1);
    }

    function test_submit10() public {
        _measure("submit 10", 10);
    }

    function test_submit100() public {
        _measure("submit 100", 100);
    }

    function test_submit500() public {
        _measure("submit 500", 500);
    }

    function _measure(string memory name, uint256 count) private {
        bytes[] memory txs = batch(count, 120);
        SignedCommitment memory signed = sealOf(txs);
        vm.prank(poster, poster);
        inbox.submit(txs, signed, "");
        uint256 used = vm.snapshotGasLastCall("Inbox", name);
        assertLe(used, BASE + EACH * count);
    }
}
