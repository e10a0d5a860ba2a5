// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Commitment, Delegation} from "../src/Objects.sol";
import {ISlashBeneficiaries, ISlasher} from "../src/interfaces/ISlasher.sol";
import {SlasherFixture} from "./SlasherFixture.sol";

/// An operator's own slasher: takes what it is told to, for two accounts of the operator's.
contract OwnSlasher is ISlasher, ISlashBeneficiaries {
    uint256 private immutable _AMOUNT;
    address private immutable _ACCOUNT;

    constructor(uint256 amount, address account) {
        (_AMOUNT, _ACCOUNT) = (amount, account);
    }

    function slash(Delegation calldata, Commitment calldata, address, bytes calldata, address)
        external
        view
        returns (uint256)
    {
        return _AMOUNT;
    }

    function beneficiaries() external view returns (address, address) {
        return (_ACCOUNT, _ACCOUNT);
    }
}

/// An operator with no more than the least collateral, that knows that it will be slashed, has slashers of its own take any
/// part of it first: what comes back to it never makes up for what is burnt.
contract SelfSlashTest is SlasherFixture {
    address private _thief = makeAddr("thief");
    address private _friend = makeAddr("friend");
    bytes32 private _root;

    function setUp() public override {
        super.setUp();
        vm.deal(address(this), 2 * SAFETY);
        _root = registry.register{value: 2 * SAFETY}(registrations(DELEGATE), _thief, ID);
        skip(1 days);
    }

    function _optIn(address judge) private {
        vm.prank(_thief);
        registry.optInToSlasher(_root, judge, rival);
    }

    function _left() private view returns (uint256) {
        return registry.getOperatorData(_root).collateralWei;
    }

    function _slash(address judge, bytes memory payload, uint64 kind, bytes memory evidence) private {
        if (_left() == 0) return;
        registry.slashCommitment(_root, sign(Commitment(kind, payload, 0, judge), rivalKey), evidence);
    }

    function testFuzz_savesNothing(uint256 first, uint256 second) public {
        first = bound(first, 1, 2 * SAFETY);
        second = bound(second, 1, 2 * SAFETY);
        address one = address(new OwnSlasher(first, _friend));
        address two = address(new OwnSlasher(second, _friend));
        _optIn(one);
        _optIn(two);
        _optIn(address(slasher));

        _slash(one, "", 0, "");
        _slash(two, "", 0, "");
        // A number 0 that begins at 1.
        bytes memory broken = abi.encode(microblock(0, 1, hashes(0, 1)));
        _slash(address(slasher), broken, 0x11, brokenChain());

        uint256 back = _friend.balance + registry.credit(_friend);
        assertGe(back, first * 20 / 100);
        assertGe(2 * uint256(SAFETY) - _left() - back, SAFETY);
    }
}
