// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {RollupRegistration} from "../Objects.sol";

/// @title The rollups that sell their ordering, and their terms (design §2)
/// @notice A chain id is granted to an owner by the registrar, so nobody takes another's. The owner alone sets the
/// terms; a change applies to slots at least `NOTICE_SLOTS` later.
interface IRollupRegistry {
    /// @notice A registration without its `uri`: what the other contracts read.
    struct Terms {
        uint256 reserveWei;
        address reserveCommitter;
        address revenueRecipient;
        address relay;
        uint16 inclusionShareBps;
        bool active;
    }

    event RollupGranted(uint64 indexed rollupId, address indexed owner);
    event RollupOffered(uint64 indexed rollupId, address indexed owner, address indexed to);
    event RollupAccepted(uint64 indexed rollupId, address indexed owner);
    /// @notice Terms that apply from L1 slot `fromSlot` on, until later ones do.
    event RollupUpdated(uint64 indexed rollupId, uint64 indexed fromSlot, RollupRegistration registration);

    error NotRegistrar();
    error NotOwner(uint64 rollupId);
    error NotOffered(uint64 rollupId);
    error AlreadyGranted(uint64 rollupId);
    /// @notice A field of the registration is not allowed; `field` is its name.
    error BadField(string field);

    function NOTICE_SLOTS() external view returns (uint64);
    function grant(uint64 rollupId, address owner) external;
    function offer(uint64 rollupId, address to) external;
    function accept(uint64 rollupId) external;
    function update(RollupRegistration calldata registration) external returns (uint64 fromSlot);
    function ownerOf(uint64 rollupId) external view returns (address);
    /// @notice The terms in force at an L1 slot; all zero if there are none yet.
    function termsAt(uint64 rollupId, uint64 slot) external view returns (Terms memory);
    function registrationAt(uint64 rollupId, uint64 slot) external view returns (RollupRegistration memory);
}
