"""What HTML pages share: colours, the skeleton, sortable tables, bars on a log scale. No page loads anything."""
