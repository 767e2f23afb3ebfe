package migrations

// UpFiles is UpNotify with other files.
var UpFiles = up
