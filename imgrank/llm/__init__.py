"""Language models behind an endpoint that the user names; none is asked that is not. No torch.

chat         who is asked, what, and what came back
client       how a question travels (extra "llm")
rephrasing   a query that says what a fitting and beautiful picture shows
"""
