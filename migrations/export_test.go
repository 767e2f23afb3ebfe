package migrations

// UpFiles is UpNotify with different files.
var UpFiles = up
