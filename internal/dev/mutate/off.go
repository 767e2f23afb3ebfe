//go:build !mutations

package mutate

// Without reports whether a mechanism is taken away, which it never is.
func Without(Mechanism) bool { return false }

func swap(text, _, _ string) string { return text }
