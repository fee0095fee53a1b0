"""Who the customers are: spend pyramid, causes of a change of sales, RFM, life cycle, lifetime value, who may move up or leave."""
