class _RankZeroOnly:
    rank: int

rank_zero_only: _RankZeroOnly
