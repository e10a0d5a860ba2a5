// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.30;

import {OrderingBid, SignedDelegation, SignedDelegationReceipt} from "../Objects.sol";
import {IRegistry} from "./IRegistry.sol";

/// @title Payment for ordering rights (design §2, §9)
/// @notice Escrow per (account, relay); a won bid is charged to it once, with the proposer's delegation and the market
/// relay's receipt. What is earned is credited and claimed by its owner. Amounts wei, times seconds.
interface IOrderingMarket {
    struct Withdrawal {
        uint128 amountWei;
        /// When it can be taken; zero if none is asked for.
        uint64 readyAt;
    }

    event Deposited(address indexed account, address indexed relay, uint256 amountWei, uint256 escrowWei);
    /// @notice A new request replaces the one before, and its time begins anew. Zero withdraws the request.
    event WithdrawalRequested(
        address indexed account, address indexed relay, uint256 amountWei, uint64 readyAt
    );
    event Withdrawn(address indexed account, address indexed relay, uint256 amountWei, uint256 escrowWei);
    event BidSettled(
        bytes32 indexed bidHash,
        address indexed account,
        address indexed relay,
        uint64 slot,
        uint256 amountWei
    );
    /// @notice One rollup of a settled bid. `inTime`: the window's batches were on L1 by the slot, so the proposer
    /// has its share; else it is the rollup's.
    event RightSettled(
        uint64 indexed rollupId,
        uint64 indexed slot,
        bytes32 indexed bidHash,
        address revenueRecipient,
        uint256 revenueWei,
        bytes32 proposerKeyHash,
        uint256 proposerWei,
        bool inTime
    );
    event Claimed(address indexed account, uint256 amountWei);
    event ProposerClaimed(bytes32 indexed proposerKeyHash, address indexed owner, uint256 amountWei);
    /// @notice An operator names its market relay; it counts as registry state does (design §2).
    event RelayNamed(bytes32 indexed registrationRoot, address indexed relay);

    error BadConfig();
    error ZeroAmount();
    error ZeroAddress();
    error EscrowTooLow(uint256 escrowWei);
    error NotRequested();
    error NotReady(uint256 readyAt);
    error EthTransferFailed();
    error NothingToClaim();
    error NotOwner();
    /// @notice Slot n has not begun: whether its window was in time is not known.
    error TooEarly(uint256 notBefore);
    error TooLate(uint256 until);
    error AlreadySettled(uint64 rollupId, uint64 slot);
    error BadBidSignature();
    error BidExpired();
    /// @notice The delegation, its metadata or its receipt does not make a valid delegation (design §2).
    error InvalidDelegation(string reason);
    /// @notice The allocation's entries that name the bid are not the bid's: rollups, account, committer, delegate or
    /// total.
    error NotAllocated(string reason);
    /// @notice The rollup's terms at the slot do not allow it: not active, another relay, or below the reserve.
    error NotForSale(uint64 rollupId, string reason);
    error InvalidProof();

    function deposit(address account, address relay) external payable;
    function requestWithdrawal(address relay, uint256 amountWei) external;
    function withdraw(address relay) external;
    /// @notice Charges a won bid. Anyone may call, once slot n has begun and until the horizon ends.
    /// @param bid the bid that the allocation's entries name
    /// @param bidSignature the account's, 65 bytes over the EIP-712 digest
    function settle(
        OrderingBid calldata bid,
        bytes calldata bidSignature,
        SignedDelegation calldata delegation,
        SignedDelegationReceipt calldata receipt
    ) external;
    function claim() external;
    /// @notice Pays a proposer key's shares to the owner of the operator that the key signed its registration for.
    function claimProposerShare(IRegistry.RegistrationProof calldata proof) external;
    function nameRelay(bytes32 registrationRoot, address relay) external;

    function escrow(address account, address relay) external view returns (uint256);
    function withdrawal(address account, address relay) external view returns (Withdrawal memory);
    function credit(address account) external view returns (uint256);
    function proposerCredit(bytes32 proposerKeyHash) external view returns (uint256);
    function isSettled(uint64 rollupId, uint64 slot) external view returns (bool);
    function relayOf(bytes32 registrationRoot) external view returns (address);
    function bidHash(OrderingBid calldata bid) external view returns (bytes32);
}
