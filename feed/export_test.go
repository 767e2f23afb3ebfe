package feed

var SQLEvents = sqlEvents
