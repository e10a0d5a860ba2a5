// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {Commitment, Delegation} from "../Objects.sol";

/// @title What the registry asks of a slasher (the Universal Registry Contract's)
interface ISlasher {
    /// @notice Judges a commitment. Reverts if there is no fault.
    /// @param delegation the delegation that named the committer; all zero if the operator's opt-in did
    /// @param commitment the commitment, whose signature by `committer` the registry has checked
    /// @param evidence what shows the fault
    /// @param challenger who brought it
    /// @return slashAmountWei what the operator loses; more than its collateral means all of it
    function slash(
        Delegation calldata delegation,
        Commitment calldata commitment,
        address committer,
        bytes calldata evidence,
        address challenger
    ) external returns (uint256 slashAmountWei);
}

/// @title A slasher that also judges delegations
interface IDelegationSlasher {
    /// @notice Judges a delegation. Reverts if there is no fault.
    /// @param registrationRoot the operator whose key signed
    /// @param delegation the delegation, whose signature the registry has checked
    function slashDelegation(
        bytes32 registrationRoot,
        Delegation calldata delegation,
        bytes calldata evidence,
        address challenger
    ) external returns (uint256 slashAmountWei);
}

/// @title A slasher that says who gets the shares of a slash
/// @notice Optional: without it the challenger is rewarded, and nobody is harmed.
interface ISlashBeneficiaries {
    /// @notice Asked by the registry right after `slash` or `slashDelegation` returned, in the same transaction.
    /// @return rewarded who brought the fault to light
    /// @return harmed who suffered; zero if nobody in particular
    function beneficiaries() external view returns (address rewarded, address harmed);
}
