package telemetry

var (
	CountOpen = countOpen
	CountRuns = countRuns

	SQLHolds  = sqlHolds
	SQLGrants = sqlGrants
)

const (
	SQLByIndex  = sqlByIndex
	MostCounted = mostCounted
)
