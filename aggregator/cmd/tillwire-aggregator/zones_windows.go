package main

import _ "time/tzdata" // feeds.zone: Windows has no time zones by IANA's names
