"""The HTTP edge that every service uses.

`identity` says who asks, `freshness` how fresh an answer has to be, `bodies` how much may be sent, `paging` how long
lists are cut, `models` what is answered, and `problems` maps every refusal to a problem document.
"""
